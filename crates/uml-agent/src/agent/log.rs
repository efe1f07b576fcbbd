//! The kernel's log: the agent writes its markers into it, and reads all of it for the host.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::libc;
use uml_protocol::NONCE_PARAMETER;
use uml_protocol::marker::{Event, Key, Marker};
use uml_protocol::wire::{self, ToHost, add_frame};

use crate::parameter;

/// How much of the log goes into one message, in bytes.
const PIECE: usize = 32 << 10;

/// The longest record that /dev/kmsg gives (`PRINTK_MESSAGE_MAX` in kernel/printk/internal.h); a shorter
/// buffer is refused.
const LONGEST_RECORD: usize = 8 << 10;

/// A log that goes on faster than it can be read is given up after so much of it, in bytes.
const MOST_AT_ONCE: usize = 8 << 20;

/// How much is told of what the kernel said before the agent could, in bytes: it has to fit a message.
const MOST_OF_BOOT: usize = wire::LONGEST / 2;

/// How much of what was read from /proc/kmsg is held against the kernel's own buffer, in bytes.
const COMPARED: usize = 16 << 10;

/// With this begins what the kernel says of its search for leaks, if it has one.
const SEARCH: &[u8] = b"kmemleak: ";

/// What it says of what it found.
const NEW_LEAKS: &[u8] = b" new suspected memory leaks";

/// The kernel log, held open: the kernel limits the rate of each opening, not of each line.
pub struct Log {
    writer: File,
    reader: Reader,
    nonce: String,
    key: Option<Key>,
    /// True if the kernel has a search for leaks.
    has_search: bool,
    /// True if that found any, and said so.
    said_leaks: bool,
}

enum Reader {
    /// /dev/kmsg: a read gives a record with a number.
    Records { file: File, buffer: Vec<u8> },
    /// /proc/kmsg of a kernel before 3.5: a read takes a piece of text away.
    Text { file: File, buffer: Vec<u8>, room: usize, latest: Vec<u8> },
}

impl Log {
    pub fn open() -> Result<Self> {
        let writer =
            OpenOptions::new().write(true).open("/dev/kmsg").context("cannot open /dev/kmsg")?;
        let nonce = parameter(NONCE_PARAMETER)?.unwrap_or_else(|| "none".into());
        let reader = Reader::open()?;
        Ok(Self { writer, reader, nonce, key: None, has_search: false, said_leaks: false })
    }

    /// Seals every marker from now on.
    pub fn seal(&mut self, key: Key) {
        self.key = Some(key);
    }

    /// Writes a marker. Returns its text.
    pub fn mark(&mut self, event: Event) -> Result<String> {
        let marker = Marker { nonce: self.nonce.clone(), key: self.key.clone(), event };
        let text = marker.to_string();
        self.say(&text)?;
        Ok(text)
    }

    /// Writes a marker, and reads the log up to it.
    pub fn mark_and_read(&mut self, event: Event, frames: &mut Vec<u8>) -> Result<()> {
        let text = self.mark(event)?;
        self.read_up_to(Some(text.as_bytes()), frames)
    }

    /// Writes a line into the kernel log.
    pub fn say(&mut self, line: &str) -> Result<()> {
        // One write is one record; below `err` a console level could hide it.
        self.writer.write_all(format!("<2>{line}\n").as_bytes()).context("cannot write /dev/kmsg")
    }

    /// Reads what there is, as messages to the host.
    pub fn read(&mut self, frames: &mut Vec<u8>) -> Result<()> {
        self.read_up_to(None, frames)
    }

    fn read_up_to(&mut self, last: Option<&[u8]>, frames: &mut Vec<u8>) -> Result<()> {
        let before = frames.len();
        self.reader.read(last, frames)?;
        self.said_leaks |= self.has_search && contains(&frames[before..], NEW_LEAKS);
        Ok(())
    }

    /// Returns true if the kernel has said of new leaks since this was asked last.
    pub fn take_said_leaks(&mut self) -> bool {
        std::mem::take(&mut self.said_leaks)
    }

    /// All that the kernel has said by now, and that it remembers; says whether it has a search for leaks.
    pub fn boot(&mut self, frames: &mut Vec<u8>) -> Result<bool> {
        let (text, records) = match &mut self.reader {
            Reader::Records { .. } => {
                let size = syslog(SIZE_BUFFER, &mut []).context("cannot ask for the log's size")?;
                // As text a record is longer than it is in the buffer.
                let text = all_of_log((2 * size).min(MOST_OF_BOOT))?;
                (text, true)
            }
            Reader::Text { file, buffer, latest, .. } => {
                let mut text = Vec::new();
                while let Ok(count @ 1..) = file.read(buffer) {
                    text.extend(&buffer[..count]);
                }
                latest.extend(&text);
                latest.drain(..latest.len().saturating_sub(COMPARED));
                (text, false)
            }
        };
        self.has_search = contains(&text, SEARCH);
        add(frames, wire::Log::Boot { text, records })?;
        Ok(self.has_search)
    }

    /// Readable while there is something that was not read.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.reader {
            Reader::Records { file, .. } | Reader::Text { file, .. } => file.as_fd(),
        }
    }
}

impl Reader {
    /// From what the kernel says next on.
    fn open() -> Result<Self> {
        let open = |path| {
            let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
            file.with_context(|| format!("cannot open {path}"))
        };
        let mut file = open("/dev/kmsg")?;
        let mut buffer = vec![0; PIECE];
        // Before 3.5 it can only be written to.
        match file.seek(SeekFrom::End(0)).and_then(|_| file.read(&mut buffer)) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let room = syslog(SIZE_BUFFER, &mut []).context("cannot ask for the log's size")?;
                let file = open("/proc/kmsg")?;
                Ok(Reader::Text { file, buffer, room, latest: Vec::new() })
            }
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                Err(error).context("cannot read /dev/kmsg")
            }
            _ => Ok(Reader::Records { file, buffer }),
        }
    }

    /// Reads up to a record that ends with `last`, or all that there is.
    fn read(&mut self, last: Option<&[u8]>, frames: &mut Vec<u8>) -> Result<()> {
        match self {
            Reader::Records { file, buffer } => read_records(file, buffer, last, frames),
            Reader::Text { file, buffer, room, latest } => {
                read_text(file, buffer, *room, latest, frames)?;
                match last {
                    Some(last) => check_nobody_took_any(latest, last, frames),
                    None => Ok(()),
                }
            }
        }
    }
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

fn add(frames: &mut Vec<u8>, log: wire::Log) -> Result<()> {
    add_frame(frames, &ToHost::Log(log)).context("cannot pass on the kernel's log")
}

fn read_records(
    file: &mut File,
    buffer: &mut [u8],
    last: Option<&[u8]>,
    frames: &mut Vec<u8>,
) -> Result<()> {
    let (mut filled, mut total) = (0, 0);
    while total < MOST_AT_ONCE {
        if buffer.len() - filled < LONGEST_RECORD {
            add(frames, wire::Log::Records(buffer[..filled].to_vec()))?;
            (filled, total) = (0, total + filled);
        }
        match file.read(&mut buffer[filled..]) {
            Ok(count) => {
                let record = &buffer[filled..filled + count];
                filled += count;
                let text = record.split(|byte| *byte == b'\n').next().unwrap_or_default();
                if last.is_some_and(|last| text.ends_with(last)) {
                    break;
                }
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => break,
                // There was no room for the next: the numbers of the records say how many are missing.
                Some(libc::EPIPE | libc::EINTR) => {}
                _ => return Err(error).context("cannot read /dev/kmsg"),
            },
        }
    }
    if filled > 0 {
        add(frames, wire::Log::Records(buffer[..filled].to_vec()))?;
    }
    Ok(())
}

fn read_text(
    file: &mut File,
    buffer: &mut [u8],
    room: usize,
    latest: &mut Vec<u8>,
    frames: &mut Vec<u8>,
) -> Result<()> {
    for _ in 0..MOST_AT_ONCE / PIECE {
        // A buffer that is full may have been full before.
        let lost = syslog(SIZE_UNREAD, &mut []).is_ok_and(|unread| unread >= room);
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                latest.extend(&buffer[..count]);
                latest.drain(..latest.len().saturating_sub(COMPARED));
                add(frames, wire::Log::Text { text: buffer[..count].to_vec(), lost })?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot read /proc/kmsg"),
        }
    }
    Ok(())
}

/// Whoever reads /proc/kmsg takes lines away from all others. What we have read has to end as the kernel's
/// buffer does, up to the marker that was written last.
fn check_nobody_took_any(latest: &[u8], last: &[u8], frames: &mut Vec<u8>) -> Result<()> {
    let up_to = |bytes: &[u8]| bytes.windows(last.len()).rposition(|window| window == last);
    let kept = all_of_log(COMPARED)?;
    let whole = match (up_to(latest), up_to(&kept)) {
        // A log that was cleared remembers less.
        (Some(read), Some(kept_up_to)) => {
            let kept = &kept[..kept_up_to];
            let read = &latest[..read];
            let common = kept.len().min(read.len());
            kept[kept.len() - common..] == read[read.len() - common..]
        }
        (read, None) => read.is_some(),
        (None, Some(_)) => false,
    };
    match whole {
        true => Ok(()),
        false => add(frames, wire::Log::Text { text: Vec::new(), lost: true }),
    }
}

/// Actions of syslog(2).
const READ_ALL: libc::c_int = 3;
const SIZE_UNREAD: libc::c_int = 9;
const SIZE_BUFFER: libc::c_int = 10;

/// The end of all that the kernel remembers, of at most so many bytes.
fn all_of_log(most: usize) -> Result<Vec<u8>> {
    let mut text = vec![0; most];
    let count = syslog(READ_ALL, &mut text).context("cannot read the kernel's log")?;
    text.truncate(count);
    Ok(text)
}

fn syslog(action: libc::c_int, buffer: &mut [u8]) -> Result<usize> {
    let Ok(length) = libc::c_int::try_from(buffer.len()) else { bail!("too long a buffer") };
    // SAFETY: the buffer has the length that is told.
    let count = unsafe { libc::klogctl(action, buffer.as_mut_ptr().cast(), length) };
    Ok(usize::try_from(Errno::result(count)?)?)
}
