//! What became of a scenario.

use super::capture::Capture;
use crate::guest::Complaint;

/// What became of a scenario.
#[derive(Debug, Default)]
pub struct LabRecord {
    /// Its guests.
    pub guests: Vec<LabGuestRecord>,
    /// The last frames of its networks, by their names.
    pub networks: Vec<(String, Capture)>,
}

/// What became of a guest of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabGuestRecord {
    /// Its name in the scenario.
    pub name: String,
    /// What its kernel is called, if it ever came up.
    pub kernel: Option<String>,
    /// What its kernel complained of, and what else speaks against it, in the order in which that was seen.
    pub complaints: Vec<Complaint>,
    /// The lines of its console.
    pub log: Vec<String>,
}
