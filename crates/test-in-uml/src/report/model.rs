//! A run as whatever shows it sees it: each case with all that was tried of it.

use std::fmt;

use serde::Serialize;

use super::excerpt::Excerpt;
use crate::record::{CaseEnd, Scenario, Shard, Tally};

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

    /// Returns true if it failed first and passed later.
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
    /// The time it took.
    pub seconds: f64,
    /// The guest that it ran in.
    pub guest: Option<String>,
    /// When it began, in seconds since the run began.
    pub started: Option<f64>,
    /// Its place among the cases of its guest.
    pub order: Option<u32>,
    /// True if it passed after it had failed.
    pub flaky: bool,
    /// What it wrote, shortened.
    pub output: Excerpt,
    /// What the kernel said meanwhile, shortened.
    pub kernel_log: Excerpt,
    /// What it left behind, in words.
    pub left_behind: Vec<String>,
    /// What it had beside its own guest.
    pub scenario: Scenario,
    /// Where its line begins in the file.
    pub offset: u64,
}

/// How many of these ended in which way.
pub(super) fn tally<'a>(cases: impl IntoIterator<Item = &'a CaseResult>) -> Tally {
    let mut tally = Tally::default();
    for case in cases {
        tally.count(case.end(), case.is_flaky());
    }
    tally
}

/// How many missing parts are named: how many there are to be is what a report says.
pub(super) const MISSING: usize = 100;

/// The parts that should be there and are not: of `slice:1/3` and `slice:3/3`, `slice:2/3`.
pub(super) fn missing_parts(shards: &[Shard]) -> Vec<String> {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for kind in shards.iter().filter_map(|shard| kind_of(shard.partition.as_deref()?)) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let there = |name: &String| shards.iter().any(|shard| shard.partition.as_ref() == Some(name));
    let all = kinds
        .into_iter()
        .flat_map(|(kind, of)| (1..=of).map(move |number| format!("{kind}:{number}/{of}")));
    all.filter(|name| !there(name)).take(MISSING).collect()
}

/// Of `slice:1/3`, `slice` and 3.
fn kind_of(partition: &str) -> Option<(&str, usize)> {
    let (kind, numbers) = partition.split_once(':')?;
    let (_, of) = numbers.split_once('/')?;
    Some((kind, of.parse().ok()?))
}
