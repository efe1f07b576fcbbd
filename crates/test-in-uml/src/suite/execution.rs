//! What became of the jobs of a run.

use std::time::Duration;

use super::queue::Job;
use super::verdict::{Outcome, Verdict};

/// A job that is over.
#[derive(Debug)]
pub struct Execution {
    /// The kernel's name.
    pub kernel: String,
    /// What was run.
    pub job: Job,
    /// When it began, since the run did.
    pub started: Duration,
    /// Which attempt the verdict is of, from 1.
    pub attempt: u32,
    /// The verdict.
    pub verdict: Verdict,
}

impl Execution {
    /// Whether it failed first, and passed when it was tried again.
    pub fn is_flaky(&self) -> bool {
        self.attempt > 1 && matches!(self.verdict.outcome, Outcome::Passed | Outcome::Skipped(_))
    }
}

/// How many outcomes of each kind there are; their sum is the number of jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cases that passed.
    pub passed: usize,
    /// Those of them that failed first.
    pub flaky: usize,
    /// Cases that failed in any way.
    pub failed: usize,
    /// Cases that said why they could not do their work.
    pub skipped: usize,
    /// Cases that were not begun, or that were interrupted.
    pub not_run: usize,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, execution: &Execution) {
        self.flaky += usize::from(execution.is_flaky());
        *match execution.verdict.outcome {
            Outcome::Passed => &mut self.passed,
            Outcome::Skipped(_) => &mut self.skipped,
            Outcome::NotRun(_) => &mut self.not_run,
            _ => &mut self.failed,
        } += 1;
    }

    /// How many cases were begun.
    pub fn run(&self) -> usize {
        self.passed + self.failed + self.skipped
    }

    /// How many there are.
    pub fn listed(&self) -> usize {
        self.run() + self.not_run
    }

    /// The numbers in words; what is none is left out.
    pub fn words(&self) -> String {
        let Self { passed, flaky, failed, skipped, not_run } = *self;
        let mut words = vec![format!("{passed} passed")];
        for (count, word) in
            [(flaky, "flaky"), (failed, "failed"), (skipped, "skipped"), (not_run, "not run")]
        {
            if count > 0 {
                words.push(format!("{count} {word}"));
            }
        }
        words.join(", ")
    }
}
