//! What a kernel complains of: lines of its log with a name, and the reports that they begin.

use std::fmt;

use uml_protocol::marker::Expectation;

use super::kernel_line::LogLine;

mod patterns;
mod reports;
mod trace;

use patterns::ALL_TASKS;
pub(super) use patterns::NO_INIT;
pub use patterns::{Pattern, Severity};
pub use reports::Reports;

/// A line of a kernel log that complains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The name of its pattern.
    pub name: &'static str,
    /// The line, without its time stamp.
    pub line: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.line)
    }
}

impl Complaint {
    /// The complaints of a kernel's log, given as lines of its console.
    pub fn of_log<S: AsRef<str>>(log: &[S]) -> Vec<Self> {
        let lines: Vec<LogLine> = log.iter().map(|line| LogLine::of_boot(line.as_ref())).collect();
        Self::of_lines(&lines, &[])
    }

    /// Those that nobody declared, of lines of a kernel's log.
    pub fn of_lines(lines: &[LogLine], declared: &[Expectation]) -> Vec<Self> {
        let mut reports = Reports::default();
        for line in lines {
            reports.take(&line.text, declared);
        }
        reports.finish();
        reports.undeclared().to_vec()
    }
}

/// Returns true if a line, without its time stamp, says that the kernel is lost.
pub(super) fn is_fatal(text: &str) -> bool {
    Pattern::of_line(text).is_some_and(|pattern| pattern.severity == Severity::Fatal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(line: &str) -> Option<&'static str> {
        Complaint::of_log(&[line]).first().map(|complaint| complaint.name)
    }

    #[test]
    fn lines_have_the_first_pattern_that_fits() {
        for (line, expected) in [
            (
                "[    1.200000] Kernel panic - not syncing: Kernel mode fault at addr 0x0, ip 0x60",
                "kernel-mode-fault",
            ),
            ("Kernel panic - not syncing: VFS: Unable to mount root fs", "panic"),
            ("[    3.100000] WARNING: CPU: 0 PID: 31 at kernel/x.c:4 f+0x1/0x2", "warning"),
            ("[    3.100000] WARNING: at fs/inode.c:904 unlock_new_inode+0x1/0x2()", "warning"),
            ("[    3.100000] WARNING: possible circular locking dependency detected", "lockdep"),
            ("[    3.100000] [ INFO: possible recursive locking detected ]", "lockdep"),
            (
                "[    3.100000] BUG: sleeping function called from invalid context at mm/slab.c:3",
                "sleep-in-atomic",
            ),
            ("[    3.100000] BUG kmalloc-64 (Tainted: G    O): Object already free", "slab"),
            ("[    3.100000] BUG kmalloc-8: Redzone overwritten", "slab"),
            ("[    3.100000] rcu: INFO: rcu_sched self-detected stall on CPU", "rcu-stall"),
            (
                "[    3.100000] INFO: rcu_sched_state detected stall on CPU 0 (t=6000 jiffies)",
                "rcu-stall",
            ),
            (
                "[    3.100000] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [x:1]",
                "soft-lockup",
            ),
            ("[    3.100000] cat: page allocation failure: order:0, mode:0x0", "page-allocation"),
            ("[    3.100000] BUG: something new", "other-bug"),
        ] {
            assert_eq!(name(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn talk_of_a_complaint_is_none() {
        for line in [
            "[    0.120000] test: saw 'Kernel panic - not syncing' in a file",
            "[    0.120000] systemd: INFO: task done",
            "[    0.120000] EXT4-fs (ubda): mounted filesystem with ordered data mode",
            "[    0.120000] rcu: Hierarchical RCU implementation.",
            "",
        ] {
            assert_eq!(name(line), None, "{line}");
        }
    }
}
