//! The lines of `report.jsonl` as they are read: `docs/report.md` in types.
//!
//! What came later than the first version's lines is optional, so that older runs can be read.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::excerpt::Excerpt;

/// The first line.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RunEvent {
    /// The version of the lines.
    pub version: u32,
    /// The run's name.
    pub id: String,
    /// What `uname -r` says on the host.
    #[serde(default)]
    pub host_kernel: String,
    /// The host's model of CPU.
    #[serde(default)]
    pub host_cpu: String,
    /// When the run began, in seconds of Unix time.
    pub started_at: Option<f64>,
    /// The seed of a shuffled order.
    pub seed: Option<serde_json::Value>,
    /// Which part of the cases was run, such as `slice:1/4`.
    pub partition: Option<String>,
    /// The runs that this report was merged from.
    #[serde(default)]
    pub merged: Vec<Shard>,
}

/// A run that went into a merged report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// The run's name.
    pub id: String,
    /// What its guests' names begin with in the merged report.
    pub prefix: String,
    /// Which part of the cases it ran.
    pub partition: Option<String>,
    /// Whether the run was cut off: it has no summary.
    pub cut_off: bool,
}

/// A kernel under test.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct KernelEvent {
    /// Its name in the configuration.
    pub kernel: String,
    /// What `uname -r` says in its guests.
    #[serde(default)]
    pub release: String,
    /// The version of gcc that built it.
    #[serde(default)]
    pub compiler: String,
    /// The hash of its configuration.
    #[serde(default)]
    pub config_sha256: String,
    /// The guests' interface.
    #[serde(default)]
    pub transport: String,
    /// Why default kernels before it were not used.
    #[serde(default)]
    pub passed_over: Vec<String>,
}

/// A guest that is over.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct GuestEvent {
    /// Its name, and that of its console's file.
    pub guest: String,
    /// How it ended, in a word.
    pub end: String,
    /// What is known beside the word.
    #[serde(default)]
    pub detail: String,
    /// Whether a case is charged with the end.
    #[serde(default)]
    pub charged: bool,
    /// The case that it ran last.
    pub last_case: Option<String>,
    /// What its kernel complained of while no case ran.
    #[serde(default)]
    pub strays: Vec<String>,
    /// When it was powered on, in seconds since the run began.
    pub booted: Option<f64>,
    /// When its agent answered.
    pub ready: Option<f64>,
    /// When it was over.
    pub ended: Option<f64>,
    /// The CPU that it was pinned to.
    pub cpu: Option<u32>,
}

impl GuestEvent {
    /// Whether the run is red because of what happened in it while no case ran.
    pub fn is_failure(&self) -> bool {
        !(self.end == "clean" || self.charged) || !self.strays.is_empty()
    }
}

/// The last line.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct SummaryEvent {
    /// Seconds from the first guest to the end.
    pub seconds: f64,
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
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
            CaseEnd::Panicked => "panicked",
            CaseEnd::Hung => "hung",
            CaseEnd::Lost => "lost",
            CaseEnd::Error => "error",
            CaseEnd::NotRun => "not-run",
            CaseEnd::Unknown => "unknown",
        }
    }

    /// Whether the run is red because of it.
    pub fn is_failure(self) -> bool {
        !matches!(self, CaseEnd::Passed | CaseEnd::Skipped | CaseEnd::NotRun)
    }
}

/// A case on a kernel, with every time that it was tried.
#[derive(Debug, Clone)]
pub struct CaseResult {
    /// Which case.
    pub id: CaseId,
    /// Which time it was to be run: above 1 in a run that repeats its cases.
    pub repeat: u32,
    /// Each try, in their order; never empty, and the last one counts.
    pub attempts: Vec<Attempt>,
}

impl CaseResult {
    /// The try that counts.
    pub fn last(&self) -> &Attempt {
        self.attempts.last().expect("a result is made from its first attempt")
    }

    /// How it ended.
    pub fn end(&self) -> CaseEnd {
        self.last().end
    }

    /// Whether it failed first and passed later.
    pub fn is_flaky(&self) -> bool {
        self.end() == CaseEnd::Passed
            && (self.last().flaky || self.attempts.iter().any(|attempt| attempt.end.is_failure()))
    }

    /// The test's name, with the number of the repetition if there are several.
    pub fn name(&self) -> String {
        match self.repeat {
            1 => self.id.name.clone(),
            repeat => format!("{} ({repeat})", self.id.name),
        }
    }

    /// Its kernel, binary and name.
    pub fn full_name(&self) -> String {
        format!("{} {} {}", self.id.kernel, self.id.binary, self.name())
    }
}

/// Which case on which kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CaseId {
    /// The kernel's name in the configuration.
    pub kernel: String,
    /// The test binary.
    pub binary: String,
    /// The test's name in it.
    pub name: String,
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kernel, self.binary, self.name)
    }
}

/// One time that a case was run.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// How it ended.
    pub end: CaseEnd,
    /// What is known beside the word.
    pub detail: String,
    /// The name of what the kernel complained of.
    pub complaint: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// The guest that it ran in.
    pub guest: Option<String>,
    /// When it began, in seconds since the run began.
    pub started: Option<f64>,
    /// Its place among the cases of its guest.
    pub order: Option<u64>,
    /// Whether it passed after it had failed.
    pub flaky: bool,
    /// What it wrote, shortened.
    pub output: Excerpt,
    /// What the kernel said meanwhile, shortened.
    pub kernel_log: Excerpt,
    /// What it left behind, in words.
    pub left_behind: Vec<String>,
    /// Where its line begins in the file.
    pub offset: u64,
}

/// A line about a case as it stands in the file.
#[derive(Debug, Deserialize)]
pub(super) struct CaseEvent {
    pub kernel: String,
    pub guest: Option<String>,
    pub binary: String,
    pub name: String,
    pub end: CaseEnd,
    #[serde(default)]
    pub detail: String,
    pub complaint: Option<String>,
    pub seconds: f64,
    #[serde(default)]
    pub output: String,
    #[serde(default)]
    pub kernel_log: Vec<String>,
    #[serde(default)]
    pub left_behind: Vec<String>,
    pub started: Option<f64>,
    pub attempt: Option<u32>,
    pub repeat: Option<u32>,
    #[serde(default)]
    pub flaky: bool,
    pub order: Option<u64>,
}
