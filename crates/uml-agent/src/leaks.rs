//! Memory of the kernel that nothing points to any more, and whose it is (kmemleak.rst).
//!
//! # What a scan cannot see
//!
//! The kernel takes every word that looks like an address for a pointer, and says nothing of what is too
//! young. So one scan misses an object
//! - that is younger than five seconds ([`MINIMAL_AGE`]);
//! - whose address is still in a stack, in a register that was saved, in memory that was freed and not
//!   written to since, or is a number that means something else: of objects that were lost alone, one in
//!   six was found, and of sixteen nearly all;
//! - that is not of the slab, the per-CPU allocator or vmalloc: whole pages are not watched.
//!
//! What it does find is lost but for code that hides its pointers. A scan that finds nothing proves
//! nothing; one that finds an object proves whose it is by when it was allocated, and by what process, and
//! not by when it was found.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use uml_protocol::wire::Owner;

use crate::debugfs::Debugfs;

/// What is younger is not reported (`MSECS_MIN_AGE`), and a little more.
pub const MINIMAL_AGE: Duration = Duration::from_secs(6);

/// The first instant of a kernel, in jiffies: five minutes before they need more than 32 bits
/// (`INITIAL_JIFFIES`). User Mode Linux has a hundred a second.
const FIRST_JIFFY: u64 = (1 << 32) - 300 * HZ;
const HZ: u64 = 100;

/// The clock is read after the jiffies that it is compared with, or before.
const SLACK: u64 = 1;

/// How the functions of the kernel begin that everybody allocates by.
const ALLOCATORS: [&str; 9] = [
    "kmalloc",
    "__kmalloc",
    "krealloc",
    "kmem_cache_alloc",
    "kvmalloc",
    "__kvmalloc",
    "vmalloc",
    "__vmalloc",
    "pcpu_alloc",
];

/// More lives than this are forgotten, the oldest first.
const MOST_LIVES: usize = 4096;

/// An object that nothing points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// Where it is.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// The name of the thread that allocated it; `hardirq` and `softirq` are no threads.
    pub command: String,
    /// The number of that thread.
    pub pid: i32,
    /// When that was, by the kernel's clock.
    pub jiffies: u64,
    /// What called what, the innermost first.
    pub backtrace: Vec<String>,
}

impl Leak {
    /// The objects that the text of /sys/kernel/debug/kmemleak has.
    pub fn parse(text: &str) -> Vec<Self> {
        let mut leaks: Vec<Self> = Vec::new();
        // Before it there is the object's content, which may be any text.
        let mut in_backtrace = false;
        for line in text.lines() {
            if let Some((address, size)) = first_line(line) {
                let (command, backtrace) = (String::new(), Vec::new());
                leaks.push(Self { address, size, command, pid: 0, jiffies: 0, backtrace });
                in_backtrace = false;
                continue;
            }
            let Some(leak) = leaks.last_mut() else { continue };
            if let Some((command, pid, jiffies)) = second_line(line) {
                (leak.command, leak.pid, leak.jiffies) = (command.into(), pid, jiffies);
            } else if in_backtrace {
                // Before 6.7 the address is in front.
                let call = line.split_once("] ").map_or(line, |(_, call)| call);
                leak.backtrace.push(call.trim().to_owned());
            } else {
                in_backtrace = line.starts_with("  backtrace");
            }
        }
        leaks
    }

    /// What to say of several, a line for those that are alike.
    pub fn summaries<'a>(leaks: impl IntoIterator<Item = &'a Self>) -> Vec<String> {
        let mut alike: Vec<(String, usize)> = Vec::new();
        for summary in leaks.into_iter().map(Self::summary) {
            match alike.iter_mut().find(|(known, _)| *known == summary) {
                Some((_, count)) => *count += 1,
                None => alike.push((summary, 1)),
            }
        }
        let line = |(summary, count)| match count {
            1 => summary,
            count => format!("{count} times {summary}"),
        };
        alike.into_iter().map(line).collect()
    }

    /// What to say of it on one line.
    pub fn summary(&self) -> String {
        let Self { size, command, pid, .. } = self;
        // The allocator's own functions come first, after those that take the trace.
        let is_allocator = |call: &String| ALLOCATORS.iter().any(|name| call.starts_with(name));
        let after = self.backtrace.iter().rposition(is_allocator).map_or(0, |last| last + 1);
        let whose = self.backtrace[after..].iter().find(|call| call.contains('+'));
        let place = whose.map_or(String::new(), |call| format!(" in {call}"));
        format!("{size} bytes, allocated by {} ({pid}){place}", command.escape_debug())
    }
}

/// `unreferenced object 0xffff… (size 64):`; of late also `unreferenced object (percpu) 0x…`.
fn first_line(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("unreferenced object")?;
    let (address, size) = rest.split_once(" 0x")?.1.split_once(" (size ")?;
    Some((u64::from_str_radix(address, 16).ok()?, size.strip_suffix("):")?.parse().ok()?))
}

/// `  comm "sh", pid 12, jiffies 4294937350`; before 6.1 ` (age 1.230s)` comes after it.
fn second_line(line: &str) -> Option<(&str, i32, u64)> {
    let (command, rest) = line.strip_prefix("  comm \"")?.rsplit_once("\", pid ")?;
    let (pid, jiffies) = rest.split_once(", jiffies ")?;
    let jiffies = jiffies.split(' ').next()?;
    Some((command, pid.parse().ok()?, jiffies.parse().ok()?))
}

/// The kernel's clock, as leaks have it.
pub fn now() -> u64 {
    let up = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    at(up)
}

/// The same when the kernel had run for so long.
pub fn at(up: Duration) -> u64 {
    FIRST_JIFFY + up.as_millis() as u64 * HZ / 1000
}

/// The kernel's search for leaks.
#[derive(Debug)]
pub struct Search {
    control: PathBuf,
    _debugfs: Debugfs,
}

impl Search {
    /// The kernel's search; nothing if it has none. A debugfs is mounted for as long as this lives.
    ///
    /// # Errors
    /// When debugfs cannot be mounted.
    pub fn open() -> io::Result<Option<Self>> {
        let Some(debugfs) = Debugfs::mount()? else { return Ok(None) };
        let control = debugfs.path("kmemleak");
        Ok(control.exists().then_some(Self { control, _debugfs: debugfs }))
    }

    /// Looks for what was lost. What was allocated within [`MINIMAL_AGE`] is not found.
    ///
    /// # Errors
    /// When the kernel has switched the search off: it had no memory for its notes.
    pub fn run(&self) -> io::Result<()> {
        // The second scan reports what the first one found, if it has not changed meanwhile.
        for _ in 0..2 {
            self.write("scan")?;
        }
        Ok(())
    }

    /// What was found so far.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn found(&self) -> io::Result<Vec<Leak>> {
        Ok(Leak::parse(&String::from_utf8_lossy(&fs::read(&self.control)?)))
    }

    /// Has the kernel not look by itself any more: what it says then, it says while any case runs.
    ///
    /// # Errors
    /// As [`Search::run`].
    pub fn only_when_asked(&self) -> io::Result<()> {
        self.write("scan=off")
    }

    /// Has the kernel forget what was found so far.
    ///
    /// # Errors
    /// As [`Search::run`].
    pub fn clear(&self) -> io::Result<()> {
        self.write("clear")
    }

    fn write(&self, word: &str) -> io::Result<()> {
        fs::write(&self.control, word).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => io::Error::new(
                ErrorKind::PermissionDenied,
                "the kernel has switched its search for leaks off: it had no memory for it",
            ),
            _ => error,
        })
    }
}

/// When a case ran, and as which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The number of the case.
    pub sequence: u32,
    /// Its first process: those that it started have higher numbers.
    pub pid: i32,
    /// When it began and ended, as [`now`] says it.
    pub from: u64,
    /// The same for its end.
    pub to: u64,
}

/// The cases that a guest has run.
#[derive(Debug, Default)]
pub struct Lives(VecDeque<Life>);

impl Lives {
    /// When the last case ended; nothing if there was none.
    pub fn last(&self) -> Option<u64> {
        self.0.back().map(|life| life.to)
    }

    /// Notes a case that is over.
    pub fn push(&mut self, life: Life) {
        if self.0.len() == MOST_LIVES {
            self.0.pop_front();
        }
        self.0.push_back(life);
    }

    /// Whose this leak is: by the time at which it was allocated, and where cases are so short that the
    /// kernel's clock does not tell them apart, by the process.
    pub fn whose(&self, leak: &Leak) -> Owner {
        let at = leak.jiffies;
        let running = |life: &&Life| life.from <= at + SLACK && at <= life.to + SLACK;
        let candidates: Vec<&Life> = self.0.iter().filter(running).collect();
        if let [only] = candidates[..] {
            return Owner::Case(only.sequence);
        }
        // Numbers are given in turn (and begin anew at 32768): the last case that has no higher one.
        let by_number = candidates.iter().rev().find(|life| life.pid <= leak.pid);
        if let Some(life) = by_number.or(candidates.last()) {
            return Owner::Case(life.sequence);
        }
        let before = self.0.iter().rev().find(|life| life.to <= at);
        before.map_or(Owner::Nobody, |life| Owner::After(life.sequence))
    }
}

#[cfg(test)]
mod tests;
