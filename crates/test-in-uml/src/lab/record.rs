//! What became of a scenario.

use std::net::Ipv4Addr;
use std::time::Duration;

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
    /// The networks that it was in, and its address in each.
    pub interfaces: Vec<(String, Ipv4Addr)>,
    /// When it was powered on each time, since the case began.
    pub boots: Vec<Duration>,
    /// The lines of its console.
    pub log: Vec<String>,
}
