//! The verdict on a case: what its process, its markers and its guest say together.

use std::fmt;
use std::time::Duration;

use guest_agent::marker::Expectation;
use guest_agent::wire::{End as ProcessEnd, Exit, Leftover};

use crate::guest::Complaint;
use crate::guest::machine::{CaseRecord, End};

#[cfg(test)]
mod tests;

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The test says that it passed, and nothing speaks against it.
    Passed,
    /// The test failed.
    Failed(String),
    /// The kernel complained while the test ran, whatever the test says.
    Kernel(Complaint),
    /// The test took too long, and was ended.
    TimedOut,
    /// The test could not do its work in this guest, and says why.
    Skipped(String),
    /// The guest ended while the test ran.
    Died {
        /// How.
        end: End,
        /// What its kernel complained of first.
        complaint: Option<Complaint>,
    },
    /// The case's own record cannot be trusted.
    Untrusted(String),
    /// The case was not begun.
    NotRun(String),
}

impl Outcome {
    /// Whether the run is red because of it.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Outcome::Passed | Outcome::Skipped(_) | Outcome::NotRun(_))
    }

    /// What the kernel complained of, by the name of its pattern.
    pub fn complaint(&self) -> Option<&'static str> {
        match self {
            Outcome::Kernel(complaint) | Outcome::Died { complaint: Some(complaint), .. } => {
                Some(complaint.name)
            }
            _ => None,
        }
    }

    /// One word, as nextest has it.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Passed => "PASS",
            Outcome::Failed(_) => "FAIL",
            Outcome::Kernel(_) => "KERNEL",
            Outcome::TimedOut => "TIMEOUT",
            Outcome::Skipped(_) => "SKIP",
            Outcome::Died { end: End::Panicked(_), .. } => "PANIC",
            Outcome::Died { end: End::Hung(_), .. } => "HUNG",
            Outcome::Died { .. } => "LOST",
            Outcome::Untrusted(_) => "ERROR",
            Outcome::NotRun(_) => "NOT RUN",
        }
    }
}

/// What is known beside the word.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed | Outcome::TimedOut => Ok(()),
            Outcome::Kernel(complaint) => write!(f, "{complaint}"),
            Outcome::Failed(why)
            | Outcome::Skipped(why)
            | Outcome::Untrusted(why)
            | Outcome::NotRun(why) => write!(f, "{why}"),
            Outcome::Died { end: End::Panicked(line), complaint: Some(complaint) } => {
                write!(f, "{complaint}")?;
                // The line of the panic says little when another came before it.
                if *line == complaint.line { Ok(()) } else { write!(f, "; {line}") }
            }
            Outcome::Died { end, complaint: Some(complaint) } => {
                write!(f, "{complaint}; {}", end.detail())
            }
            Outcome::Died { end, complaint: None } => f.write_str(end.detail()),
        }
    }
}

/// A case's outcome with its evidence.
#[derive(Debug)]
pub struct Verdict {
    /// The outcome.
    pub outcome: Outcome,
    /// How long its process took, by the guest's clock; by ours if the guest did not live to tell.
    pub duration: Duration,
    /// What it wrote.
    pub output: Vec<u8>,
    /// What the kernel said meanwhile.
    pub log: Vec<String>,
    /// What it left behind.
    pub leftovers: Vec<Leftover>,
    /// Where it ran; nothing if no guest began it.
    pub place: Option<Place>,
}

/// Where a case ran: a kernel's faults depend on what ran before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The guest's name.
    pub guest: String,
    /// How many cases that guest had run with this one.
    pub order: u32,
    /// When it began, since the run did.
    pub began: Duration,
}

impl Verdict {
    /// A case that was not begun.
    pub fn not_run(why: &str) -> Self {
        Self {
            outcome: Outcome::NotRun(why.into()),
            duration: Duration::ZERO,
            output: Vec::new(),
            log: Vec::new(),
            leftovers: Vec::new(),
            place: None,
        }
    }

    /// Whether cases after it deserve another guest: this one is not what it was.
    pub fn spoils_guest(&self) -> bool {
        let stays = |leftover: &Leftover| match leftover {
            Leftover::Stuck(_) | Leftover::Module(_) => true,
            Leftover::Unmounted(_) | Leftover::Space(..) | Leftover::Program(_) => true,
            Leftover::Process(_) | Leftover::Mount(_) | Leftover::Clock(_) => false,
        };
        matches!(self.outcome, Outcome::Kernel(_) | Outcome::Untrusted(_))
            || self.leftovers.iter().any(stays)
    }

    /// Judges a case, which took this long by our clock, by its record and by the end of its guest,
    /// if it ended.
    pub fn of(record: CaseRecord, took: Duration, guest: Option<&End>) -> Self {
        let outcome = outcome(&record, guest);
        let (duration, leftovers) =
            record.exit.map_or((took, Vec::new()), |exit| (exit.duration, exit.leftovers));
        let (output, log) = (record.output.bytes(), record.log.all());
        Self { outcome, duration, output, log, leftovers, place: None }
    }
}

fn outcome(record: &CaseRecord, guest: Option<&End>) -> Outcome {
    let died = |how: &str| {
        let end = guest.cloned().unwrap_or_else(|| End::Lost(how.into()));
        let text = record.expectations.iter().find_map(|expected| match expected {
            Expectation::Death(text) => Some(text),
            Expectation::Message(_) => None,
        });
        match text {
            Some(text) if says(record, text) => Outcome::Passed,
            _ => Outcome::Died { end, complaint: complaints(record).next() },
        }
    };
    let Some(exit) = &record.exit else { return died("it ended without a word") };
    if let Some(disorder) = &record.disorder {
        return Outcome::Untrusted(disorder.clone());
    }
    // The agent's word came, but the guest ended before the marker that closes the case.
    if !record.end_seen {
        return died("it ended before the case was closed");
    }
    if let Some(complaint) = complaints(record).next().or_else(|| added_taint(record, exit)) {
        return Outcome::Kernel(complaint);
    }
    match (exit.end, &exit.skip) {
        (ProcessEnd::TimedOut, _) => Outcome::TimedOut,
        (ProcessEnd::Signal(signal), _) => Outcome::Failed(format!("signal {signal}")),
        (ProcessEnd::Code(0), _) if !says_passed(record) => {
            Outcome::Failed("it exited with 0 before its test was over".into())
        }
        (ProcessEnd::Code(0), Some(why)) => Outcome::Skipped(why.clone()),
        (ProcessEnd::Code(0), None) => absent(record).map_or(Outcome::Passed, Outcome::Failed),
        (ProcessEnd::Code(code), _) => Outcome::Failed(format!("exit code {code}")),
    }
}

/// Whether a line of the case's kernel log holds this text.
fn says(record: &CaseRecord, text: &str) -> bool {
    record.log.all().iter().any(|line| line.contains(text))
}

/// What the kernel complained of and the case did not declare.
fn complaints(record: &CaseRecord) -> impl Iterator<Item = Complaint> {
    let declared = |complaint: &Complaint| {
        record.expectations.iter().any(|expected| expected.is_met_by(&complaint.line))
    };
    Complaint::of_log(&record.log.all()).into_iter().filter(move |complaint| !declared(complaint))
}

/// What the case declared and the kernel did not do.
fn absent(record: &CaseRecord) -> Option<String> {
    record.expectations.iter().find_map(|expected| match expected {
        Expectation::Message(text) if says(record, text) => None,
        Expectation::Message(text) => Some(format!("the kernel did not say `{text}`, as declared")),
        Expectation::Death(text) => {
            Some(format!("the guest lives, and was declared to die with `{text}`"))
        }
    })
}

/// Taint flags that mean that the kernel found a fault (tainted-kernels.rst): a machine check, a
/// bad page, an oops, a warning, a soft lockup.
const FAULTS: [(u64, char); 5] = [(4, 'M'), (5, 'B'), (7, 'D'), (9, 'W'), (14, 'L')];

/// A fault of which the log does not tell, unless the case declared one.
fn added_taint(record: &CaseRecord, exit: &Exit) -> Option<Complaint> {
    let flags: String = FAULTS
        .iter()
        .filter(|(bit, _)| exit.tainted & 1 << bit != 0)
        .map(|(_, letter)| letter)
        .collect();
    let silent = !flags.is_empty() && record.expectations.is_empty();
    silent.then(|| Complaint { name: "taint", line: format!("the kernel is tainted now: {flags}") })
}

/// libtest's own word. Exit code 0 alone would call a test green that called `exit(0)`, or whose
/// name the binary does not know.
fn says_passed(record: &CaseRecord) -> bool {
    let stdout = record.output.end_of_stdout();
    let text = String::from_utf8_lossy(&stdout);
    text.lines().rev().take(20).any(|line| line.starts_with("test result: ok. 1 passed;"))
}
