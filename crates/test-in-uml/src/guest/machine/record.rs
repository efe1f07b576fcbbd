//! What a guest tells of a case, until it is over.

use uml_protocol::marker::Expectation;
use uml_protocol::wire::Exit;

use crate::guest::complaint::Reports;
use crate::guest::kernel_line::{LogLine, Origin};
use crate::guest::output::{Lines, Output};

/// A case, as the guest told of it.
#[derive(Debug, Default)]
pub struct CaseRecord {
    /// Its sequence number.
    pub sequence: u32,
    /// How its process ended, in the agent's words.
    pub exit: Option<Exit>,
    /// True if the end marker was seen.
    pub end_seen: bool,
    /// True if the agent began it.
    pub begin_seen: bool,
    /// True if the console had its end marker, which comes before the agent's word.
    pub over_by_console: bool,
    /// What the case wrote, as it came.
    pub output: Output,
    /// What the kernel said between the case's markers.
    pub log: Lines,
    /// How many records of that were lost, at least.
    pub lost: u64,
    /// What the kernel complained of.
    pub reports: Reports,
    /// What the case declared of its kernel, each with whether the kernel did it.
    pub expectations: Expectations,
    /// The kernel's last line of its own.
    pub last_line: String,
    /// Why the record cannot be trusted.
    pub disorder: Option<String>,
}

/// What a case declared, in order.
#[derive(Debug, Default)]
pub struct Expectations {
    all: Vec<Expectation>,
    met: Vec<bool>,
}

impl Expectations {
    /// Takes one more.
    pub fn declare(&mut self, what: Expectation) {
        self.all.push(what);
        self.met.push(false);
    }

    /// All of them.
    pub fn all(&self) -> &[Expectation] {
        &self.all
    }

    /// Those that no line of the kernel's met.
    pub fn unmet(&self) -> impl Iterator<Item = &Expectation> {
        self.all.iter().zip(&self.met).filter(|(_, met)| !**met).map(|(what, _)| what)
    }

    fn take(&mut self, text: &str) {
        for (what, met) in self.all.iter().zip(&mut self.met) {
            *met |= what.is_met_by(text);
        }
    }
}

impl CaseRecord {
    /// Returns true if the case's markers enclose the line that comes now.
    pub(super) fn is_open(&self) -> bool {
        self.begin_seen && !self.end_seen
    }

    /// Takes a line of the log.
    pub fn line(&mut self, line: &LogLine) {
        let counts = line.origin != Origin::Program && {
            self.expectations.take(&line.text);
            self.last_line.clone_from(&line.text);
            self.reports.take(&line.text, self.expectations.all())
        };
        self.log.push(&line.to_string(), counts);
    }
}
