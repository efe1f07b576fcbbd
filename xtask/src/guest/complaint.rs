//! What a kernel complains of: one table of the lines that it says then, each with a name.
//!
//! The lines are those of Linux 3.0 and of today's kernels; where the wording changed, both are in
//! the table. A report of many lines is known by its first.

use std::fmt;

use super::kernel_line::KernelLine;

mod reports;
mod trace;

pub use reports::Reports;

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
    /// Whether it is the message of a warning.
    in_warning: bool,
    /// Whether its first line is its only one.
    one_line: bool,
    /// How its lines begin, without the time stamp; `*` stands for anything.
    lines: &'static [&'static str],
}

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
        let mut reports = Reports::default();
        for line in log {
            reports.take(&KernelLine::of_boot(line.as_ref()).text, &[]);
        }
        reports.finish();
        reports.undeclared().to_vec()
    }
}

/// Whether a line, without its time stamp, says that the kernel is lost.
pub(super) fn is_fatal(text: &str) -> bool {
    Pattern::of_line(text).is_some_and(|pattern| pattern.severity == Severity::Fatal)
}

impl Pattern {
    /// The first pattern of the table that a line has, which comes without its time stamp.
    pub fn of_line(line: &str) -> Option<&'static Self> {
        PATTERNS.iter().find(|pattern| pattern.lines.iter().any(|form| has_form(line, form)))
    }
}

fn has_form(line: &str, form: &str) -> bool {
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

const fn pattern(
    name: &'static str,
    severity: Severity,
    lines: &'static [&'static str],
) -> Pattern {
    Pattern { name, severity, in_warning: false, one_line: false, lines }
}

const fn failure(name: &'static str, lines: &'static [&'static str]) -> Pattern {
    pattern(name, Severity::Failure, lines)
}

/// A complaint without registers and call trace.
const fn one_line(name: &'static str, lines: &'static [&'static str]) -> Pattern {
    Pattern { one_line: true, ..pattern(name, Severity::Failure, lines) }
}

const fn message_of_warning(name: &'static str, lines: &'static [&'static str]) -> Pattern {
    Pattern { in_warning: true, ..pattern(name, Severity::Failure, lines) }
}

const fn fatal(name: &'static str, lines: &'static [&'static str]) -> Pattern {
    pattern(name, Severity::Fatal, lines)
}

const fn notice(name: &'static str, lines: &'static [&'static str]) -> Pattern {
    pattern(name, Severity::Notice, lines)
}

/// The name of what a kernel says that finds no init.
pub(super) const NO_INIT: &str = "no-init";

/// The name of what a kernel says that was asked for what runs, with a call trace for each task.
const ALL_TASKS: &str = "all-tasks";

/// All patterns; a line has the first that fits it.
static PATTERNS: [Pattern; 31] = [
    notice(ALL_TASKS, &["sysrq: Show ", "SysRq : Show "]),
    notice("oom-kill", &["* invoked oom-killer:"]),
    fatal(
        "kernel-mode-fault",
        &[
            "Kernel panic - not syncing: Kernel mode fault at addr",
            "Kernel panic - not syncing: Kernel mode signal",
            "Kernel panic - not syncing: Segfault with no mm",
            "Kernel panic - not syncing: Kernel tried to access user memory",
            "Kernel mode fault at addr",
            "Kernel tried to access user memory",
        ],
    ),
    fatal(
        "stack-overflow",
        &[
            "Kernel panic - not syncing: corrupted stack end detected",
            "Kernel panic - not syncing: stack-protector",
            "Kernel panic - not syncing: Kernel stack overflow",
        ],
    ),
    fatal(
        NO_INIT,
        &[
            "Kernel panic - not syncing: Requested init",
            "Kernel panic - not syncing: No working init found",
            "Kernel panic - not syncing: No init found",
            // An old kernel goes on, with an init that nobody asked for.
            "Failed to execute *.  Attempting defaults",
        ],
    ),
    fatal("panic", &["Kernel panic - not syncing"]),
    failure("kasan", &["BUG: KASAN:"]),
    failure("kfence", &["BUG: KFENCE:"]),
    failure("kcsan", &["BUG: KCSAN:"]),
    failure("ubsan", &["UBSAN:"]),
    one_line("kmemleak", &["kmemleak: * new suspected memory leaks"]),
    failure("sleep-in-atomic", &["BUG: sleeping function called from invalid context"]),
    failure("scheduling-while-atomic", &["BUG: scheduling while atomic"]),
    failure("soft-lockup", &["watchdog: BUG: soft lockup", "BUG: soft lockup"]),
    failure("hung-task", &["INFO: task * blocked for more than"]),
    failure(
        "rcu-stall",
        &["rcu: INFO: rcu_* detected", "INFO: rcu_* detected", "rcu: INFO: rcu_* self-detected"],
    ),
    failure(
        "lockdep",
        &[
            "WARNING: possible ",
            "WARNING: inconsistent lock state",
            "WARNING: bad unlock balance",
            "WARNING: suspicious RCU usage",
            "WARNING: suspicious rcu_dereference_check() usage",
            "WARNING: * lock held when returning to user space",
            "WARNING: lock held when returning to user space",
            "WARNING: held lock freed",
            "WARNING: * still has locks held",
            "WARNING: Nested lock was not taken",
            "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order",
            "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order",
            "[ INFO: possible ",
            "[ INFO: inconsistent lock state",
            "[ INFO: suspicious rcu_dereference_check() usage",
            "[ INFO: HARDIRQ-safe -> HARDIRQ-unsafe lock order",
            "[ INFO: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order",
            "[ BUG: bad unlock balance",
            "[ BUG: held lock freed",
            "[ BUG: lock held when returning to user space",
            "[ BUG: bad contention",
        ],
    ),
    message_of_warning(
        "list-corruption",
        &["list_add corruption", "list_add double add", "list_del corruption"],
    ),
    message_of_warning("refcount", &["refcount_t:"]),
    failure(
        "bad-page",
        &["BUG: Bad page", "BUG: Bad rss-counter", "bad: scheduling from the idle"],
    ),
    failure(
        "slab",
        &[
            "BUG * (*): ",
            "BUG *: Object already ",
            "BUG *: Not a valid slab page",
            "BUG *: Freepointer corrupt",
            "BUG *: Wrong number of objects",
            "BUG *: * overwritten",
            "BUG *: Invalid object",
            "BUG *: Freechain corrupt",
            "BUG *: Freelist",
            "BUG *: Objects remaining",
            "BUG *: Wrong object count",
            "BUG *: Poison",
            "BUG *: Redzone",
            "slab error in ",
            "INFO: Slab ",
        ],
    ),
    failure("bug", &["BUG: failure at ", "kernel BUG at "]),
    failure("oops", &["Oops:", "general protection fault", "Unable to handle kernel"]),
    failure("page-allocation", &["*: page allocation failure"]),
    one_line("ext4-error", &["EXT4-fs error", "JBD2: * error", "Aborting journal on device"]),
    one_line("io-error", &["*I/O error, dev ", "Buffer I/O error on "]),
    one_line("nfs-error", &["NFS: *error", "nfsd: *error", "RPC: *error"]),
    failure("workqueue", &["BUG: workqueue"]),
    message_of_warning("debug-objects", &["ODEBUG:"]),
    failure("warning", &["WARNING:"]),
    failure("other-bug", &["BUG:"]),
];

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
