//! What a guest tells of a case, until it is over.

use guest_agent::marker::Expectation;
use guest_agent::wire::Exit;

use crate::guest::complaint::Complaint;
use crate::guest::output::{Lines, Output};

/// A case, as the guest told of it.
#[derive(Debug, Default)]
pub struct CaseRecord {
    /// Its sequence number.
    pub sequence: u32,
    /// How its process ended, in the agent's words.
    pub exit: Option<Exit>,
    /// Whether the end marker was seen.
    pub end_seen: bool,
    /// Whether the agent began it.
    pub begin_seen: bool,
    /// What the case wrote, as it came.
    pub output: Output,
    /// What the kernel said between the case's markers.
    pub log: Lines,
    /// What the case declared of its kernel.
    pub expectations: Vec<Expectation>,
    /// Why the record cannot be trusted.
    pub disorder: Option<String>,
}

impl CaseRecord {
    pub(super) fn closed(&self) -> bool {
        self.exit.is_some() && self.end_seen
    }

    /// Takes a line of the log if it belongs to the case.
    pub(super) fn line(&mut self, line: &str) -> bool {
        let belongs = self.begin_seen && !self.end_seen;
        if belongs {
            let counts = Complaint::of_line(line).is_some()
                || self.expectations.iter().any(|expected| expected.is_met_by(line));
            self.log.push(line, counts);
        }
        belongs
    }
}
