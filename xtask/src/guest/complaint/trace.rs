//! Register dumps and call traces in a log: where one begins, and which lines belong to it.

/// The beginnings of the lines that a dump of registers or a call trace begins with, in kernels from 3.0 on
/// (`dump_stack()`, `show_regs()`, `print_modules()`).
const BEGINNINGS: [&str; 5] =
    ["Call Trace:", "Call trace:", "Modules linked in:", "Stack:", "RIP: "];

/// Whether a dump begins with this line.
pub(super) fn begins(text: &str) -> bool {
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) || names_process(text)
}

/// `CPU: 0 PID: 12 Comm: x …`, and `Pid: 12, comm: x …` before 3.10.
fn names_process(text: &str) -> bool {
    let today = text.starts_with("CPU: ") && text.contains(" PID: ") && text.contains(" Comm: ");
    today || (text.starts_with("Pid: ") && text.contains(", comm: "))
}

/// Where in its report a line is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// No dump has begun yet.
    #[default]
    Before,
    /// Within a dump.
    Within,
}

impl Place {
    /// Whether the report goes on with this line.
    pub fn goes_on(&mut self, text: &str) -> bool {
        let begins = begins(text);
        if begins {
            *self = Place::Within;
        }
        *self == Place::Before || begins || belongs(text)
    }
}

/// Whether a line may stand within a dump: indented, an address, a register, or one of its own words.
fn belongs(text: &str) -> bool {
    let word = text.split([' ', ':', '=']).next().unwrap_or_default();
    let is_number =
        |word: &str| word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let registers = [
        "RAX", "RDX", "RSI", "RBP", "R08", "R10", "R11", "R12", "R13", "R14", "EFLAGS", "RSP",
        "CR2",
    ];
    let words = [
        "Tainted",
        "Hardware",
        "Workqueue",
        "Code",
        "---[",
        "<TASK>",
        "</TASK>",
        "Last",
        "Stack",
        "Pid",
        "irq",
        "hardirqs",
        "softirqs",
    ];
    text.is_empty()
        || text.starts_with([' ', '\t', '['])
        || is_number(word)
        || registers.contains(&word)
        || words.contains(&word)
}

/// Why a detector of the kernel says nothing more after this line, if it is one that says so.
pub(super) fn disables_detector(text: &str) -> Option<&str> {
    const WORDS: [&str; 5] = [
        "Disabling lock debugging due to kernel taint",
        "turning off the locking correctness validator",
        "Kernel memory leak detector disabled",
        "kmemleak: Automatic memory scanning thread ended",
        "kfence: disabled",
    ];
    WORDS.iter().any(|words| text.contains(words)).then_some(text)
}
