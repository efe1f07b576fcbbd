//! What is kept of a run: the lines of `report.jsonl`, written as it goes, and read by whatever shows it.
//!
//! `docs/report.md` documents them; a field is never given another meaning within a version. What came later
//! than the first lines of a version is optional, so that older runs can be read.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

mod end;
mod tally;

pub use end::{CaseEnd, GuestEnd};
pub use tally::Tally;

/// The version of the lines.
pub const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Line<'a> {
    /// The first.
    Run(RunLine),
    /// A kernel under test, before its cases.
    Kernel(KernelLine),
    /// A case is over, or an attempt at it.
    Case(Cow<'a, CaseLine>),
    /// A guest is over.
    Guest(Cow<'a, GuestLine>),
    /// Something makes the run red and is neither a case's nor a guest's.
    Trouble(Trouble),
    /// The last.
    Summary(SummaryLine),
    /// Later events, within this version.
    #[serde(other)]
    Other,
}

/// The first line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunLine {
    /// The version of the lines.
    pub version: u32,
    /// The run's name.
    pub id: String,
    /// When the run began, in seconds of Unix time.
    pub started_at: Option<f64>,
    /// The seed of a shuffled order.
    pub seed: Option<u64>,
    /// Which part of the cases was run, such as `slice:1/4`.
    pub partition: Option<String>,
    /// What `uname -r` says on the host.
    #[serde(default)]
    pub host_kernel: String,
    /// The host's model of CPU.
    #[serde(default)]
    pub host_cpu: String,
    /// What guests were run in and attached to on the host, such as `namespaces, taps`.
    #[serde(default)]
    pub walls: String,
    /// The runs that this report was merged from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
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
    /// True if the run was cut off: it has no summary.
    pub cut_off: bool,
}

/// A kernel under test.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelLine {
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

/// A case that is over, or an attempt at it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseLine {
    /// The kernel's name in the configuration.
    pub kernel: String,
    /// The guest that it ran in; none if it was not begun.
    pub guest: Option<String>,
    /// The number of cases that guest had run with this one.
    pub order: Option<u32>,
    /// The test binary.
    pub binary: String,
    /// The test's name in it.
    pub name: String,
    /// Which of its repetitions this is, from 1.
    pub repeat: Option<u32>,
    /// Which attempt this is, from 1.
    pub attempt: Option<u32>,
    /// True if it passed after it had failed.
    #[serde(default)]
    pub flaky: bool,
    /// When it began, in seconds since the run did.
    pub started: Option<f64>,
    /// How it ended.
    pub end: CaseEnd,
    /// What is known beside the word.
    #[serde(default)]
    pub detail: String,
    /// The pattern of the kernel's complaint.
    pub complaint: Option<String>,
    /// The time it took.
    pub seconds: f64,
    /// What it wrote.
    #[serde(default)]
    pub output: String,
    /// What the kernel said meanwhile.
    #[serde(default)]
    pub kernel_log: Vec<String>,
    /// What it left behind, in words.
    #[serde(default)]
    pub left_behind: Vec<String>,
    /// What it had beside its own guest.
    #[serde(default, skip_serializing_if = "Scenario::is_empty")]
    pub scenario: Scenario,
}

impl CaseLine {
    /// `BINARY NAME`, as cases are shown and filtered.
    pub fn full_name(&self) -> String {
        format!("{} {}", self.binary, self.name)
    }
}

/// What a case had beside its own guest. The consoles of its guests are in its kernel log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its guests.
    #[serde(default)]
    pub guests: Vec<ScenarioGuest>,
    /// Its networks.
    #[serde(default)]
    pub networks: Vec<ScenarioNetwork>,
}

impl Scenario {
    /// Returns true if it had nothing.
    pub fn is_empty(&self) -> bool {
        self.guests.is_empty() && self.networks.is_empty()
    }
}

/// A guest of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScenarioGuest {
    /// Its name.
    pub name: String,
    /// Its kernel's name in the configuration, if it ever came up.
    pub kernel: Option<String>,
    /// The networks that it was in, and its address in each.
    #[serde(default)]
    pub interfaces: Vec<(String, String)>,
    /// When it was powered on each time, in seconds since the case began.
    #[serde(default)]
    pub boots: Vec<f64>,
}

/// A network of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScenarioNetwork {
    /// Its name.
    pub name: String,
    /// The file of the run's folder with what passed there, if that was kept.
    pub capture: Option<String>,
}

/// A guest that is over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GuestLine {
    /// Its name, and that of its console's file.
    pub guest: String,
    /// The kernel that it ran.
    #[serde(default)]
    pub kernel: String,
    /// The CPU of the host that it was pinned to.
    pub cpu: Option<u16>,
    /// When it was powered on, in seconds since the run began.
    pub booted: Option<f64>,
    /// When its agent had greeted us.
    pub ready: Option<f64>,
    /// When it was gone.
    pub ended: Option<f64>,
    /// The number of cases it ran.
    #[serde(default)]
    pub cases: u32,
    /// How it ended.
    pub end: GuestEnd,
    /// What is known beside the word.
    #[serde(default)]
    pub detail: String,
    /// True if a case is charged with that end.
    #[serde(default)]
    pub charged: bool,
    /// The case that it ran last.
    pub last_case: Option<String>,
    /// What its kernel complained of while no case ran.
    #[serde(default)]
    pub strays: Vec<String>,
}

impl GuestLine {
    /// Returns true if the run is red because of what happened while no case ran.
    pub fn is_failure(&self) -> bool {
        self.ended_by_itself() || !self.strays.is_empty()
    }

    fn ended_by_itself(&self) -> bool {
        !(self.end == GuestEnd::Clean || self.charged)
    }

    /// What happened then, in words.
    pub fn troubles(&self) -> Vec<String> {
        let strays = self.strays.iter();
        let said = strays.map(|stray| format!("while no case ran, its kernel said {stray}"));
        let end = self.ended_by_itself().then(|| {
            let last = self.last_case.as_deref().unwrap_or("none");
            let (end, detail) = (self.end.word(), &self.detail);
            format!("{end}: {detail}; no case ran, and the last was: {last}")
        });
        said.chain(end).collect()
    }
}

/// Something that makes a run red and is no case's fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What it happened to.
    pub subject: String,
    /// What it was.
    pub what: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.what)
    }
}

/// The last line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SummaryLine {
    /// How the cases ended.
    #[serde(flatten)]
    pub tally: Tally,
    /// Seconds from the first guest to the end.
    pub seconds: f64,
}

#[cfg(test)]
mod tests;
