//! Register dumps and call traces in a log: where one begins, and which lines belong to it.

pub(super) use super::patterns::{begins_trace as begins, disables_detector};

/// Where in its report a line is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum TracePlace {
    /// No dump has begun yet.
    #[default]
    Before,
    /// Within a dump.
    Within,
}

impl TracePlace {
    /// Returns true if the report goes on with this line.
    pub fn goes_on(&mut self, text: &str) -> bool {
        let begins = begins(text);
        if begins {
            *self = TracePlace::Within;
        }
        *self == TracePlace::Before || begins || belongs(text)
    }
}

/// Returns true if a line may stand within a dump: indented, an address, a register, or one of its own words.
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
