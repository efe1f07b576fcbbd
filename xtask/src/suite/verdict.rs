//! The verdict on a case: what its process, its markers and its guest say together.

use std::fmt;
use std::time::Duration;

use guest_agent::wire::{End as ProcessEnd, Leftover, Stream};

use crate::guest::machine::{CaseRecord, End};

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The test says that it passed, and nothing speaks against it.
    Passed,
    /// The test failed.
    Failed(String),
    /// The test took too long, and was ended.
    TimedOut,
    /// The test could not do its work in this guest, and says why.
    Skipped(String),
    /// The guest ended while the test ran.
    Died(End),
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

    /// One word, as nextest has it.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Passed => "PASS",
            Outcome::Failed(_) => "FAIL",
            Outcome::TimedOut => "TIMEOUT",
            Outcome::Skipped(_) => "SKIP",
            Outcome::Died(End::Panicked(_)) => "PANIC",
            Outcome::Died(End::Hung(_)) => "HUNG",
            Outcome::Died(_) => "LOST",
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
            Outcome::Failed(why)
            | Outcome::Skipped(why)
            | Outcome::Untrusted(why)
            | Outcome::NotRun(why) => write!(f, "{why}"),
            Outcome::Died(end) => write!(f, "{end}"),
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
        }
    }

    /// Judges a case, which took this long by our clock, by its record and by the end of its guest,
    /// if it ended.
    pub fn of(record: CaseRecord, took: Duration, guest: Option<&End>) -> Self {
        let outcome = outcome(&record, guest);
        let (duration, leftovers) =
            record.exit.map_or((took, Vec::new()), |exit| (exit.duration, exit.leftovers));
        let output = record.output.into_iter().flat_map(|(_, bytes)| bytes).collect();
        Self { outcome, duration, output, log: record.log, leftovers }
    }
}

fn outcome(record: &CaseRecord, guest: Option<&End>) -> Outcome {
    let Some(exit) = &record.exit else {
        let lost = || End::Lost("it ended without a word".into());
        return Outcome::Died(guest.cloned().unwrap_or_else(lost));
    };
    if let Some(disorder) = &record.disorder {
        return Outcome::Untrusted(disorder.clone());
    }
    // The agent's word came, but the guest ended before the marker that closes the case.
    if !record.end_seen {
        let lost = || End::Lost("it ended before the case was closed".into());
        return Outcome::Died(guest.cloned().unwrap_or_else(lost));
    }
    match (exit.end, &exit.skip) {
        (ProcessEnd::TimedOut, _) => Outcome::TimedOut,
        (ProcessEnd::Signal(signal), _) => Outcome::Failed(format!("signal {signal}")),
        (ProcessEnd::Code(0), _) if !says_passed(record) => {
            Outcome::Failed("it exited with 0 before its test was over".into())
        }
        (ProcessEnd::Code(0), Some(why)) => Outcome::Skipped(why.clone()),
        (ProcessEnd::Code(0), None) => Outcome::Passed,
        (ProcessEnd::Code(code), _) => Outcome::Failed(format!("exit code {code}")),
    }
}

/// libtest's own word. Exit code 0 alone would call a test green that called `exit(0)`, or whose
/// name the binary does not know.
fn says_passed(record: &CaseRecord) -> bool {
    let stdout: Vec<u8> = record
        .output
        .iter()
        .filter(|(stream, _)| *stream == Stream::Stdout)
        .flat_map(|(_, bytes)| bytes.iter().copied())
        .collect();
    let text = String::from_utf8_lossy(&stdout);
    text.lines().rev().take(20).any(|line| line.starts_with("test result: ok. 1 passed;"))
}

#[cfg(test)]
mod tests {
    use guest_agent::wire::Exit;

    use super::*;

    const PASSED: &str = "\nrunning 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed\n";

    fn record(end: ProcessEnd, skip: Option<&str>, stdout: &str) -> CaseRecord {
        CaseRecord {
            exit: Some(Exit {
                sequence: 1,
                end,
                duration: Duration::ZERO,
                skip: skip.map(str::to_owned),
                leftovers: Vec::new(),
            }),
            end_seen: true,
            output: vec![(Stream::Stdout, stdout.into())],
            ..CaseRecord::default()
        }
    }

    #[test]
    fn a_case_passes_only_by_its_tests_own_word() {
        let zero = ProcessEnd::Code(0);
        assert_eq!(outcome(&record(zero, None, PASSED), None), Outcome::Passed);
        let none = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed\n";
        for silent in ["", "hello\n", none] {
            let outcome = outcome(&record(zero, None, silent), None);
            assert!(matches!(outcome, Outcome::Failed(_)), "{silent}");
        }
    }

    #[test]
    fn a_skip_is_neither_passed_nor_a_way_around_a_failure() {
        let skipped = record(ProcessEnd::Code(0), Some("no loop"), PASSED);
        assert_eq!(outcome(&skipped, None), Outcome::Skipped("no loop".into()));
        let failed = record(ProcessEnd::Code(101), Some("no loop"), "");
        assert_eq!(outcome(&failed, None), Outcome::Failed("exit code 101".into()));
    }

    #[test]
    fn signals_and_time_fail() {
        let outcome = |end| outcome(&record(end, None, PASSED), None);
        assert_eq!(outcome(ProcessEnd::Signal(11)), Outcome::Failed("signal 11".into()));
        assert_eq!(outcome(ProcessEnd::TimedOut), Outcome::TimedOut);
    }

    #[test]
    fn a_guest_that_died_fails_the_case_that_ran() {
        let panic = End::Panicked("Kernel panic - not syncing: x".into());
        let died = outcome(&CaseRecord::default(), Some(&panic));
        assert_eq!(died, Outcome::Died(panic.clone()));
        assert!(died.is_failure());
        let mut unclosed = record(ProcessEnd::Code(0), None, PASSED);
        unclosed.end_seen = false;
        assert_eq!(outcome(&unclosed, Some(&panic)), Outcome::Died(panic));
    }

    #[test]
    fn a_disorder_is_never_a_pass() {
        let mut record = record(ProcessEnd::Code(0), None, PASSED);
        record.disorder = Some("a marker is missing".into());
        assert!(outcome(&record, None).is_failure());
    }

    #[test]
    fn a_case_that_killed_its_guest_took_its_time_too() {
        let took = Duration::from_secs(3);
        let end = End::Panicked("BUG".into());
        assert_eq!(Verdict::of(CaseRecord::default(), took, Some(&end)).duration, took);
        let told = record(ProcessEnd::Code(0), None, PASSED);
        assert_eq!(Verdict::of(told, took, None).duration, Duration::ZERO);
    }
}
