//! One parser of a line of a kernel's log, in each of the forms in which it reaches us: a record of
//! /dev/kmsg (Documentation/ABI/testing/dev-kmsg), a line of syslog(2) or /proc/kmsg, and a line of a
//! console.

use std::fmt;

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The kernel.
    Kernel,
    /// A program, through /dev/kmsg: the record has a facility that only programs have.
    Program,
    /// A console tells nothing of that, nor does a kernel before 3.5.
    Unknown,
}

impl Origin {
    /// By the priority of a syslog line: level and facility in one number, and programs cannot have 0 as
    /// their facility (`devkmsg_write()` in kernel/printk/printk.c, since 3.5).
    fn of_priority(priority: u32, records: bool) -> Self {
        match (priority >> 3, records) {
            (0, true) => Origin::Kernel,
            (0, false) => Origin::Unknown,
            _ => Origin::Program,
        }
    }
}

/// A line of a kernel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, in microseconds since the boot; only lines from before the clock have none.
    pub stamp: Option<u64>,
    /// Who wrote it.
    pub origin: Origin,
    /// What it says, without stamp, level and caller.
    pub text: String,
}

/// As a console shows it.
impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stamp) = self.stamp {
            write!(f, "[{:5}.{:06}] ", stamp / 1_000_000, stamp % 1_000_000)?;
        }
        f.write_str(&self.text)
    }
}

impl LogLine {
    /// The kernel's line in a line of a console, if there is one. A program may have written text before
    /// it that does not end a line.
    pub fn of_console(line: &str) -> Option<Self> {
        line.match_indices('[').find_map(|(at, _)| {
            let (stamp, text) = after_stamp(&line[at..])?;
            let text = without_caller(text);
            Some(Self { stamp: Some(stamp), origin: Origin::Unknown, text: text.into() })
        })
    }

    /// A line of a console on which no program can write yet: one without a stamp is the kernel's too.
    pub fn of_boot(line: &str) -> Self {
        Self::of_console(line).unwrap_or_else(|| Self {
            stamp: None,
            origin: Origin::Unknown,
            text: without_level(line).1.into(),
        })
    }

    /// What the lines of a log say that is kept as a console shows it.
    pub fn texts(log: &[String]) -> Vec<String> {
        log.iter().map(|line| Self::of_boot(line).text).collect()
    }

    /// A line as syslog(2) and /proc/kmsg give it; `records` says whether the kernel keeps whole
    /// records, and so knows a program's lines from its own.
    fn of_syslog(line: &str, records: bool) -> Self {
        let (priority, rest) = without_level(line);
        let (stamp, text) = after_stamp(rest)
            .map_or((None, rest), |(stamp, text)| (Some(stamp), without_caller(text)));
        let origin = match priority {
            Some(priority) => Origin::of_priority(priority, records),
            // It belongs to the line before it, which a newline within a message has cut.
            None => Origin::Unknown,
        };
        Self { stamp, origin, text: text.into() }
    }
}

/// `<6>` and what comes after it.
fn without_level(line: &str) -> (Option<u32>, &str) {
    let parsed = line.strip_prefix('<').and_then(|rest| {
        let (priority, text) = rest.split_once('>')?;
        Some((priority.parse().ok()?, text))
    });
    parsed.map_or((None, line), |(priority, text)| (Some(priority), text))
}

/// `[   12.345678] ` and what comes after it; `[   12.345678][   T47] ` with CONFIG_PRINTK_CALLER.
fn after_stamp(line: &str) -> Option<(u64, &str)> {
    let (stamp, text) = line.strip_prefix('[')?.split_once(']')?;
    let (seconds, micros) = stamp.trim_start_matches(' ').split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(micros) || micros.len() != 6 {
        return None;
    }
    // A console drops the blanks at the end of an empty line.
    let text = match text.strip_prefix(' ') {
        Some(text) => text,
        None if text.is_empty() || text.starts_with('[') => text,
        None => return None,
    };
    let seconds: u64 = seconds.parse().ok()?;
    Some((seconds.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)?, text))
}

/// A line without `[   T47] ` or `[    C0] `: the thread or CPU that wrote it.
fn without_caller(text: &str) -> &str {
    let parsed = text.strip_prefix('[').and_then(|rest| {
        let (caller, text) = rest.split_once(']')?;
        let number = caller.trim_start_matches(' ').strip_prefix(['T', 'C'])?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.strip_prefix(' ').unwrap_or(text))
    });
    parsed.unwrap_or(text)
}

/// A record of /dev/kmsg.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number: a gap says that the kernel had no room for what is missing.
    pub sequence: u64,
    /// Its lines: a message may hold several.
    pub lines: Vec<LogLine>,
}

/// The records in bytes that /dev/kmsg gave; what is no record is passed over, and leaves a gap.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Record> {
    // Lines that begin with a blank are about the record before them: a device, a subsystem.
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty() && line[0] != b' ').filter_map(record)
}

fn record(line: &[u8]) -> Option<Record> {
    let line = String::from_utf8_lossy(line);
    let (fields, text) = line.split_once(';')?;
    let mut fields = fields.split(',');
    let priority = fields.next()?.parse().ok()?;
    let sequence = fields.next()?.parse().ok()?;
    let stamp = fields.next()?.parse().ok()?;
    let origin = Origin::of_priority(priority, true);
    let text = unescape(text);
    let line = |text: &str| LogLine { stamp: Some(stamp), origin, text: text.trim_end().into() };
    Some(Record { sequence, lines: text.split('\n').map(line).collect() })
}

/// Undoes `\x0a`, as /dev/kmsg writes what cannot be printed.
fn unescape(text: &str) -> String {
    let mut pieces = text.split("\\x");
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        match piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(&piece.as_bytes()[2..]);
            }
            None => {
                bytes.extend(b"\\x");
                bytes.extend(piece.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The lines in a text of syslog(2). With `records`, what stands between angle
/// brackets before a line is its facility and its level, as a kernel since 3.5 has it.
pub fn syslog_lines(text: &[u8], records: bool) -> Vec<LogLine> {
    let text = String::from_utf8_lossy(text);
    let mut lines: Vec<LogLine> = Vec::new();
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        let mut line = LogLine::of_syslog(line.trim_end(), records);
        if let (None, Some(before)) = (line.stamp, lines.last()) {
            (line.stamp, line.origin) = (before.stamp, before.origin);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(line: &str) -> Option<(u64, String)> {
        LogLine::of_console(line).map(|line| (line.stamp.unwrap(), line.text))
    }

    #[test]
    fn a_kernels_line_is_found_in_a_line_of_a_console() {
        for (line, stamp, text) in [
            (
                "[    0.120000] Kernel panic - not syncing: x",
                120_000,
                "Kernel panic - not syncing: x",
            ),
            ("[    0.900000][   T47] WARNING: x", 900_000, "WARNING: x"),
            ("[    0.900000][    C0] WARNING: x", 900_000, "WARNING: x"),
            ("<0>[    0.590000] Kernel panic", 590_000, "Kernel panic"),
            ("<0>[    0.590000][    T1] Kernel panic", 590_000, "Kernel panic"),
            ("progress 12%[   12.000001] EXT4-fs error", 12_000_001, "EXT4-fs error"),
            ("[ 12% ][ ok ] [  123.456789] x", 123_456_789, "x"),
            ("[12345.456789] [ INFO: possible ]", 12_345_456_789, "[ INFO: possible ]"),
            ("[    0.100000]", 100_000, ""),
        ] {
            assert_eq!(console(line), Some((stamp, text.into())), "{line}");
        }
        for line in [
            "Kernel panic - not syncing: x",
            "[not a time] Kernel panic",
            "[  0.1] Kernel panic",
            "[    0.120000]Kernel panic",
            "[99999999999999999999.000000] x",
            "[",
            "",
        ] {
            assert_eq!(console(line), None, "{line}");
        }
        let early = LogLine::of_boot("<0>Kernel panic - not syncing: early");
        assert_eq!((early.stamp, &*early.text), (None, "Kernel panic - not syncing: early"));
    }

    #[test]
    fn a_line_is_shown_as_a_console_shows_it() {
        let line = "[   12.034567] hello";
        assert_eq!(LogLine::of_console(line).unwrap().to_string(), line);
        let with_caller = "[   12.034567][   T47] hello";
        assert_eq!(LogLine::of_console(with_caller).unwrap().to_string(), line);
    }

    #[test]
    fn records_tell_the_kernel_from_programs_and_what_is_missing() {
        let bytes = b"6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n DEVICE=n3\n\
            12,340,5140901,-,caller=T47;WARNING: by a program\n\
            nonsense\n\
            4,345,5140902,c;two\\x0alines \\x5cx41 \\xzz\n";
        let all: Vec<Record> = records(bytes).collect();
        let numbers: Vec<u64> = all.iter().map(|record| record.sequence).collect();
        assert_eq!(numbers, [339, 340, 345]);
        let texts: Vec<&str> =
            all.iter().flat_map(|record| &record.lines).map(|line| &*line.text).collect();
        assert_eq!(texts, ["NET: Registered", "WARNING: by a program", "two", "lines \\x41 \\xzz"]);
        assert_eq!(all[0].lines[0].origin, Origin::Kernel);
        assert_eq!(all[1].lines[0].origin, Origin::Program);
        assert_eq!(all[2].lines[1].stamp, Some(5_140_902));
    }

    #[test]
    fn a_text_of_syslog_is_read_on_old_and_new_kernels() {
        let text = b"<6>[    0.000000] Linux version\n<12>[    0.100000] by a program\n\
            <4>[    0.200000][    T1] two\nlines\n<0>early\n";
        let lines = syslog_lines(text, true);
        let origins: Vec<Origin> = lines.iter().map(|line| line.origin).collect();
        use Origin::{Kernel, Program, Unknown};
        assert_eq!(origins, [Kernel, Program, Kernel, Kernel, Kernel]);
        assert_eq!((&*lines[3].text, lines[3].stamp), ("lines", Some(200_000)));
        assert_eq!(&*lines[4].text, "early");
        let old = syslog_lines(text, false);
        assert_eq!(
            old[0].origin, Unknown,
            "whoever writes to an old /dev/kmsg speaks as the kernel"
        );
        assert_eq!(old[1].origin, Program);
    }
}
