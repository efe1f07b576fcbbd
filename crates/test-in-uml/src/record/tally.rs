//! How many cases ended in which way.

use serde::{Deserialize, Serialize};

use super::CaseEnd;

/// The number of outcomes of each kind there are; their sum is the number of cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Cases that passed.
    pub passed: usize,
    /// Those of them that failed first.
    pub flaky: usize,
    /// Cases that failed in any way.
    pub failed: usize,
    /// Cases that said why they could not do their work.
    pub skipped: usize,
    /// Cases that failed as they are known to.
    pub known: usize,
    /// Cases that were not begun, or that were interrupted.
    pub not_run: usize,
}

impl Tally {
    /// Counts one more case, by the end that counts.
    pub fn count(&mut self, end: CaseEnd, flaky: bool) {
        self.flaky += usize::from(flaky);
        *match end {
            CaseEnd::Passed => &mut self.passed,
            CaseEnd::Skipped => &mut self.skipped,
            CaseEnd::Known => &mut self.known,
            CaseEnd::NotRun => &mut self.not_run,
            _ => &mut self.failed,
        } += 1;
    }

    /// How many cases were begun.
    pub fn run(&self) -> usize {
        self.passed + self.failed + self.skipped + self.known
    }

    /// How many there are.
    pub fn listed(&self) -> usize {
        self.run() + self.not_run
    }

    /// The numbers in words; what is none is left out.
    pub fn words(&self) -> String {
        let Self { passed, flaky, failed, skipped, known, not_run } = *self;
        let mut words = vec![format!("{passed} passed")];
        for (count, word) in [
            (flaky, "flaky"),
            (failed, "failed"),
            (skipped, "skipped"),
            (known, "known"),
            (not_run, "not run"),
        ] {
            if count > 0 {
                words.push(format!("{count} {word}"));
            }
        }
        words.join(", ")
    }
}
