//! The table. The order counts: a line has the first pattern that fits it.
//!
//! Longer than 300 lines: it is one list.

use super::{ALL_TASKS, NO_INIT, Pattern, Severity};

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

/// A complaint that may come without registers and call trace: it does not wait for them.
const fn one_line(name: &'static str, lines: &'static [&'static str]) -> Pattern {
    Pattern { one_line: true, ..failure(name, lines) }
}

/// A complaint that is the message of a warning, on some kernels or on all.
const fn message_of_warning(name: &'static str, lines: &'static [&'static str]) -> Pattern {
    Pattern { in_warning: true, ..failure(name, lines) }
}

const fn message_or_one_line(name: &'static str, lines: &'static [&'static str]) -> Pattern {
    Pattern { one_line: true, ..message_of_warning(name, lines) }
}

const fn fatal(name: &'static str, lines: &'static [&'static str]) -> Pattern {
    pattern(name, Severity::Fatal, lines)
}

const fn notice(name: &'static str, lines: &'static [&'static str]) -> Pattern {
    pattern(name, Severity::Notice, lines)
}

pub(super) static PATTERNS: &[Pattern] = &[
    notice(ALL_TASKS, &["sysrq: Show ", "SysRq : Show "]),
    notice("oom-kill", &["* invoked oom-killer:"]),
    // With kernel.print-fatal-signals: a process was ended, and nothing is wrong with the kernel.
    notice(
        "fatal-signal",
        &["potentially unexpected fatal signal ", "*: potentially unexpected fatal signal "],
    ),
    // Somebody asked for it (Documentation/fault-injection).
    notice("fault-injection", &["FAULT_INJECTION: forcing a failure"]),
    Pattern {
        one_line: true,
        ..notice("deprecated", &["WARNING: The mand mount option has been deprecated"])
    },
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
            "Kernel panic - not syncing: corrupted shadow stack detected",
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
    // Sanitizers.
    failure("kasan", &["BUG: KASAN:"]),
    failure("kfence", &["BUG: KFENCE:"]),
    failure("kcsan", &["BUG: KCSAN:"]),
    failure("kmsan", &["BUG: KMSAN:"]),
    failure("ubsan", &["UBSAN:"]),
    one_line("kmemleak", &["kmemleak: * new suspected memory leaks"]),
    failure(
        "kmemleak",
        &[
            "kmemleak: Cannot insert ",
            "kmemleak: * unknown object",
            "kmemleak: * an unknown object",
            "kmemleak: Found object by alias",
            "kmemleak: Scan area larger than object",
        ],
    ),
    // What a context forbids.
    failure("sleep-in-atomic", &["BUG: sleeping function called from invalid context"]),
    failure(
        "scheduling-while-atomic",
        &[
            "BUG: scheduling while atomic",
            "BUG: scheduling in a non-blocking section",
            "BUG: assuming ",
            "bad: scheduling from the idle",
        ],
    ),
    message_or_one_line(
        "preemption-imbalance",
        &[
            "initcall * returned with ",
            "softirq: huh, entered softirq",
            "huh, entered softirq",
            "timer: * preempt leak",
            "note: * exited with preempt_count",
            "note: * exited with irqs disabled",
        ],
    ),
    failure(
        "preemptible",
        &["BUG: using *smp_processor_id() in preemptible", "BUG: using * in preemptible"],
    ),
    // What takes too long.
    failure("soft-lockup", &["watchdog: BUG: soft lockup", "BUG: soft lockup"]),
    failure("hard-lockup", &["*Watchdog detected hard LOCKUP"]),
    failure("hung-task", &["INFO: task * blocked"]),
    failure(
        "rcu-stall",
        &[
            "rcu: INFO: rcu_*detected",
            "INFO: rcu_*detected",
            "rcu: rcu_* kthread starved for",
            "rcu: rcu_* kthread timer wakeup didn't happen for",
        ],
    ),
    failure("workqueue", &["BUG: workqueue"]),
    one_line("reference-leak", &["unregister_netdevice: waiting for ", "ref_tracker: "]),
    failure("irq", &["irq *: nobody cared", "irq event *: bogus return value"]),
    // Locks.
    failure(
        "lockdep",
        &[
            "WARNING: possible ",
            "WARNING: inconsistent lock state",
            "WARNING: bad unlock balance",
            "WARNING: bad contention",
            "WARNING: suspicious RCU usage",
            "WARNING: suspicious rcu_dereference_check() usage",
            "WARNING: * lock held when returning to user space",
            "WARNING: lock held when returning to user space",
            "WARNING: held lock freed",
            "WARNING: * still has locks held",
            "WARNING: Nested lock was not taken",
            "WARNING: *-safe -> *-unsafe lock order",
            "WARNING: chain_key collision",
            "WARNING: circular locking deadlock",
            "[ INFO: ",
            "[ BUG: ",
            "INFO: trying to register non-static key",
            "BUG: key ",
            "BUG: looking up invalid subclass",
            "BUG: MAX_LOCK",
            "BUG: MAX_STACK_TRACE_ENTRIES",
        ],
    ),
    message_of_warning("lockdep", &["DEBUG_LOCKS_WARN_ON("]),
    failure("spinlock", &["BUG: spinlock ", "BUG: rwlock ", "BUG: *-lock lockup on CPU"]),
    // Data structures.
    message_of_warning(
        "list-corruption",
        &["list_add corruption", "list_add double add", "list_del corruption"],
    ),
    message_of_warning("refcount", &["refcount_t:"]),
    message_of_warning("debug-objects", &["ODEBUG: * (active state", "ODEBUG: object is "]),
    message_of_warning("dma-api", &["DMA-API: *device driver ", "*: DMA-API: device driver "]),
    message_of_warning(
        "kobject",
        &[
            "sysfs: cannot create duplicate filename",
            "kobject*: tried to init an initialized object",
            "kobject*: tried to add an uninitialized object",
            "kobject*: attempted to be registered with empty name",
            "kobject*: is not initialized, yet kobject_",
            "kobject*: must have a ktype to be initialized",
            "kobject*: invalid kobject pointer",
        ],
    ),
    // Memory.
    failure(
        "bad-page",
        &[
            "BUG: Bad page",
            "BUG: Bad rss-counter",
            "BUG: non-zero pgtables_bytes",
            "pagealloc: memory corruption",
            "pagealloc: single bit error",
        ],
    ),
    one_line(
        "bad-page",
        &[
            "*: bad pgd ",
            "*: bad p4d ",
            "*: bad pud ",
            "*: bad pmd ",
            "*: bad pte ",
            "*: Bad swap * entry ",
        ],
    ),
    failure(
        "page-allocation",
        &[
            "*: page allocation failure",
            "*: vmalloc error: size ",
            "vmalloc: allocation failure",
            "percpu: allocation failed",
        ],
    ),
    // File systems and disks.
    one_line(
        "ext4-error",
        &[
            "EXT4-fs error",
            "EXT4-fs (*): previous I/O error to superblock",
            "EXT4-fs (*): *elayed block allocation failed",
            "EXT4-fs (*): This should not happen!!",
            "JBD2: *rror",
            "JBD2: *corrupt",
            "JBD2: Spotted dirty metadata",
            "JBD*: corrupted",
            "JBD: *rror",
            "JBD: Spotted dirty metadata",
            "journal commit I/O error",
            "Aborting journal on device",
        ],
    ),
    one_line(
        "fs-error",
        &[
            "EXT2-fs error",
            "EXT2-fs (*): error",
            "EXT3-fs error",
            "EXT3-fs (*): error",
            "XFS (*): *orruption",
            "XFS (*): *I/O error",
            "XFS (*): Internal error",
            "XFS (*): *hutting down filesystem",
            "XFS*: Assertion failed",
            "BTRFS error",
            "BTRFS critical",
            "SQUASHFS error",
            "FAT-fs (*): error",
        ],
    ),
    message_or_one_line("busy-inodes", &["VFS: Busy inodes after unmount of", "BUG: Dentry "]),
    one_line(
        "io-error",
        &[
            "*I/O error, dev ",
            "*critical * error, dev ",
            "*timeout error, dev ",
            "*protection error, dev ",
            "Buffer I/O error on ",
            "lost page write due to I/O error on ",
            "loop: Write error at byte offset ",
            // The host's (arch/um/drivers/ubd_kern.c).
            "do_io - *fail",
            "io_thread - ",
        ],
    ),
    one_line("nfs-error", &["NFS: *error", "nfsd: *error", "RPC: *error"]),
    // The network.
    message_or_one_line(
        "socket",
        &[
            "*Attempt to release * socket ",
            "NEIGH: BUG",
            "*Destroying alive neighbour",
            "*: hw csum failure",
            "protocol * is buggy, dev ",
        ],
    ),
    // The host of a User Mode Linux does not give what it needs.
    one_line(
        "host",
        &[
            "UML ran out of memory on the host side",
            "fix_range_common: failed, killing current process",
            "Bus error - the host /dev/shm or /tmp mount",
        ],
    ),
    // What has no name of its own.
    failure("bug", &["BUG: failure at ", "kernel BUG at ", "Kernel BUG at ", "BUG at ", "BUG in "]),
    failure(
        "slab",
        &[
            "BUG *: ",
            "slab error in ",
            "slab: *corruption",
            "slab: double free",
            "Slab corruption",
            "BUG: mempool ",
        ],
    ),
    failure(
        "oops",
        &["Oops:", "general protection fault", "Unable to handle kernel", "Fixing recursive fault"],
    ),
    failure("warning", &["WARNING:"]),
    failure("other-bug", &["BUG:"]),
];
