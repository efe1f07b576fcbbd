//! What a kernel complains of: kinds of lines, each with a name.
//!
//! [`table`] has the lines of Linux 3.0, 6.1, 6.12 and 7.3; where the wording changed, each is there. A
//! report of many lines is known by its first. `words.txt` has the formats in the kernel's sources that
//! the table was made for, and what has to become of each.

mod table;
#[cfg(test)]
mod tests;

use table::PATTERNS;

/// What a complaint means for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The kernel is lost, whatever comes after.
    Fatal,
    /// The kernel goes on, and whoever ran is to be told.
    Failure,
    /// No complaint, though a call trace may come with it: the kernel was asked for one, or ended a
    /// process that took all memory.
    Notice,
}

/// A kind of complaint.
#[derive(Debug)]
pub struct Pattern {
    /// What reports call it.
    pub name: &'static str,
    /// What it means.
    pub severity: Severity,
    /// True if it may be the message of a warning.
    pub(super) in_warning: bool,
    /// True if its first line is its only one.
    pub(super) one_line: bool,
    /// How its lines begin, without the time stamp; `*` stands for anything.
    lines: &'static [&'static str],
}

/// The name of what a kernel says that finds no init.
pub(in super::super) const NO_INIT: &str = "no-init";

/// The name of what a kernel says that was asked for what runs, with a call trace for each task.
pub(super) const ALL_TASKS: &str = "all-tasks";

impl Pattern {
    /// The first pattern of the table that a line has, which comes without its time stamp.
    pub fn of_line(line: &str) -> Option<&'static Self> {
        PATTERNS.iter().find(|pattern| pattern.lines.iter().any(|form| has_form(line, form)))
    }
}

fn has_form(line: &str, form: &str) -> bool {
    // Most lines of a log are told from most forms by their first letter.
    let first = form.as_bytes().first();
    if first != Some(&b'*') && first != line.as_bytes().first() {
        return false;
    }
    let mut parts = form.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    parts.all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// Returns true if a call trace or a dump of registers begins with this line, in kernels from 3.0 on
/// (`dump_stack()`, `show_stack()`, `show_regs()`, `print_modules()`).
pub(super) fn begins_trace(text: &str) -> bool {
    const BEGINNINGS: [&str; 8] = [
        "Call Trace:",
        "Call trace:",
        "Modules linked in:",
        "Stack:",
        "RIP: ",
        "EIP: ",
        "Backtrace:",
        // Those of a process that User Mode Linux cannot go on with (arch/um/os-Linux/skas/process.c).
        "Stub registers -",
    ];
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) || names_process(text)
}

/// `CPU: 0 PID: 12 Comm: x …`, and `Pid: 12, comm: x …` before 3.10.
fn names_process(text: &str) -> bool {
    let today = text.starts_with("CPU: ") && text.contains(" PID: ") && text.contains(" Comm: ");
    today || (text.starts_with("Pid: ") && text.contains(", comm: "))
}

/// Returns true if a detector of the kernel says after this line that it sees no more from now on.
pub(super) fn disables_detector(text: &str) -> bool {
    const BEGINNINGS: [&str; 9] = [
        "Disabling lock debugging due to kernel taint",
        "turning off the locking correctness validator",
        "INFO: lockdep is turned off",
        "[ turning off deadlock detection",
        "kmemleak: Cannot allocate a kmemleak_object structure",
        "kmemleak: Kernel memory leak detector disabled",
        "kmemleak: Kmemleak disabled without freeing internal data",
        "kmemleak: Automatic memory scanning thread ended",
        "kfence: disabled",
    ];
    const OF_TABLES: [&str; 4] = [
        "ODEBUG: *ut of memory",
        "DMA-API: debugging out of memory",
        "Future hung task reports are suppressed",
        "hung_task: Future hung task reports are suppressed",
    ];
    BEGINNINGS.iter().chain(&OF_TABLES).any(|form| has_form(text, form))
}
