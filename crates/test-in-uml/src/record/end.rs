//! How cases and guests end, by the words of the report.

use serde::{Deserialize, Serialize};

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseEnd {
    /// It passed.
    Passed,
    /// The test failed.
    Failed,
    /// The kernel complained.
    Kernel,
    /// It took too long.
    TimedOut,
    /// It said why it could not do its work.
    Skipped,
    /// It failed as it is known to.
    Known,
    /// The guest's kernel panicked.
    Panicked,
    /// The guest hung.
    Hung,
    /// The guest vanished.
    Lost,
    /// The record cannot be trusted.
    Error,
    /// It was not begun.
    NotRun,
    /// A word of a later xtask. What we do not know is no success.
    #[serde(other)]
    Unknown,
}

impl CaseEnd {
    /// The word of the report.
    pub fn word(self) -> &'static str {
        match self {
            CaseEnd::Passed => "passed",
            CaseEnd::Failed => "failed",
            CaseEnd::Kernel => "kernel",
            CaseEnd::TimedOut => "timed-out",
            CaseEnd::Skipped => "skipped",
            CaseEnd::Known => "known",
            CaseEnd::Panicked => "panicked",
            CaseEnd::Hung => "hung",
            CaseEnd::Lost => "lost",
            CaseEnd::Error => "error",
            CaseEnd::NotRun => "not-run",
            CaseEnd::Unknown => "unknown",
        }
    }

    /// The word for a person, as nextest has it.
    pub fn label(self) -> &'static str {
        match self {
            CaseEnd::Passed => "PASS",
            CaseEnd::Failed => "FAIL",
            CaseEnd::Kernel => "KERNEL",
            CaseEnd::TimedOut => "TIMEOUT",
            CaseEnd::Skipped => "SKIP",
            CaseEnd::Known => "KNOWN",
            CaseEnd::Panicked => "PANIC",
            CaseEnd::Hung => "HUNG",
            CaseEnd::Lost => "LOST",
            CaseEnd::Error | CaseEnd::Unknown => "ERROR",
            CaseEnd::NotRun => "NOT RUN",
        }
    }

    /// Returns true if the run is red because of it.
    pub fn is_failure(self) -> bool {
        use CaseEnd::{Known, NotRun, Passed, Skipped};
        !matches!(self, Passed | Skipped | Known | NotRun)
    }
}

/// How a guest ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestEnd {
    /// It switched itself off.
    Clean,
    /// It did not come up.
    BootFailed,
    /// Its kernel panicked.
    Panicked,
    /// It did not answer any more.
    Hung,
    /// It vanished.
    Lost,
    /// A word of a later xtask. What we do not know is no good end.
    #[default]
    #[serde(other)]
    Unknown,
}

impl GuestEnd {
    /// The word of the report.
    pub fn word(self) -> &'static str {
        match self {
            GuestEnd::Clean => "clean",
            GuestEnd::BootFailed => "boot-failed",
            GuestEnd::Panicked => "panicked",
            GuestEnd::Hung => "hung",
            GuestEnd::Lost => "lost",
            GuestEnd::Unknown => "unknown",
        }
    }
}
