//! A guest's console: its file, its lines, and what a line says about the kernel.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::{Context as _, Result};

use super::kernel_line::LogLine;
use super::machine::GuestEvent;
use crate::threads;

/// The longest console line that is kept in one piece, in bytes.
const LONGEST_LINE: usize = 16 << 10;

/// How much of the beginning of a console is written to its file as it comes, in bytes.
const BEGINNING: usize = 16 << 20;

/// How much of the end of a longer one is written once it is over, in bytes.
const END: usize = 1 << 20;

/// A console's file: a guest that floods its console does not fill the disk.
#[derive(Debug)]
pub(super) struct ConsoleLog {
    file: File,
    /// How much more of the beginning is taken.
    room: usize,
    /// What came after the beginning, without what was dropped.
    end: Vec<u8>,
    dropped: usize,
}

impl ConsoleLog {
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { file, room: BEGINNING, end: Vec::new(), dropped: 0 })
    }

    fn take(&mut self, bytes: &[u8]) {
        let (now, later) = bytes.split_at(self.room.min(bytes.len()));
        self.room -= now.len();
        // A file that cannot be written costs the log, not the verdict.
        let _ = self.file.write_all(now);
        self.end.extend(later);
        if self.end.len() > 2 * END {
            self.drop_but_the_end();
        }
    }

    fn drop_but_the_end(&mut self) {
        let excess = self.end.len().saturating_sub(END);
        self.end.drain(..excess);
        self.dropped += excess;
    }
}

impl Drop for ConsoleLog {
    fn drop(&mut self) {
        self.drop_but_the_end();
        if self.dropped > 0 {
            let _ = writeln!(self.file, "\n({} bytes of the console were dropped)", self.dropped);
        }
        let _ = self.file.write_all(&self.end);
    }
}

/// Copies the console to its file and tells of every line. When nobody listens any more it still
/// reads on: a guest must never wait for its console.
///
/// # Errors
/// When there can be no thread for it.
pub(super) fn watch(
    console: impl Read + Send + 'static,
    mut log: ConsoleLog,
    events: SyncSender<GuestEvent>,
) -> Result<()> {
    threads::spawn(move || {
        let mut console = BufReader::with_capacity(64 << 10, console);
        let mut line = Vec::new();
        while let Ok(bytes) = console.fill_buf() {
            if bytes.is_empty() {
                break;
            }
            log.take(bytes);
            for &byte in bytes {
                if byte == b'\n' || line.len() >= LONGEST_LINE {
                    tell_line(&mut line, &events);
                }
                if byte != b'\n' && byte != b'\r' {
                    line.push(byte);
                }
            }
            let count = bytes.len();
            console.consume(count);
        }
        // Whoever hears of the end may read the file.
        drop(log);
        if !line.is_empty() {
            tell_line(&mut line, &events);
        }
        let _ = events.send(GuestEvent::ConsoleClosed);
    })?;
    Ok(())
}

/// Copies the console to a file until it ends, and tells nobody.
///
/// # Errors
/// When the file cannot be made, or there can be no thread for it.
pub(crate) fn keep_console(console: impl Read + Send + 'static, path: &Path) -> Result<()> {
    watch(console, ConsoleLog::create(path)?, sync_channel(0).0)
}

fn tell_line(line: &mut Vec<u8>, events: &SyncSender<GuestEvent>) {
    let text = String::from_utf8_lossy(line).into_owned();
    line.clear();
    let _ = events.send(GuestEvent::Line(text));
}

/// The loops per jiffy that the kernel calibrated, if this line says them.
pub(super) fn calibrated_lpj(line: &str) -> Option<u64> {
    let line = LogLine::of_boot(line).text;
    let (_, rest) = line.split_once("(lpj=")?;
    // With `lpj=` given, the kernel says `(skipped) preset value` and repeats what it was given.
    if line.contains("preset") { None } else { rest.split_once(')')?.0.parse().ok() }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_flooded_console_leaves_its_beginning_and_its_end_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let (read, mut write) = std::io::pipe().unwrap();
        let (events, inbox) = sync_channel(8);
        watch(read, ConsoleLog::create(&path).unwrap(), events).unwrap();
        let flood = std::thread::spawn(move || {
            writeln!(write, "Linux version").unwrap();
            let flood = [&[b'x'; 999][..], b"\n"].concat();
            for _ in 0..60_000 {
                write.write_all(&flood).unwrap();
            }
            write.write_all(b"Kernel panic").unwrap();
        });
        let mut lines = Vec::new();
        while let GuestEvent::Line(line) = inbox.recv().unwrap() {
            lines.push(line);
        }
        flood.join().unwrap();
        assert_eq!(lines.len(), 60_002, "the verdict hears of every line");
        assert_eq!((&*lines[0], &*lines[60_001]), ("Linux version", "Kernel panic"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() < BEGINNING + END + 100, "{} bytes", text.len());
        assert!(text.starts_with("Linux version\nxx") && text.ends_with("xx\nKernel panic"));
        assert!(text.contains("bytes of the console were dropped)\n"));
    }

    #[test]
    fn a_console_without_line_ends_is_heard_of_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let log = ConsoleLog::create(&dir.path().join("console.log")).unwrap();
        let (events, inbox) = sync_channel(8);
        watch(std::io::repeat(b'y').take(3 * LONGEST_LINE as u64), log, events).unwrap();
        let pieces = inbox.iter().filter(|event| matches!(event, GuestEvent::Line(_))).count();
        assert_eq!(pieces, 3);
    }

    #[test]
    fn a_calibrated_value_is_told_from_a_preset_one() {
        let line = "[    0.000000] Calibrating delay loop... 7812.35 BogoMIPS (lpj=39061760)";
        assert_eq!(calibrated_lpj(line), Some(39_061_760));
        let line = "Calibrating delay loop (skipped) preset value.. 781.31 BogoMIPS (lpj=3906560)";
        assert_eq!(calibrated_lpj(line), None);
        assert_eq!(calibrated_lpj("Linux version 6.12"), None);
    }
}
