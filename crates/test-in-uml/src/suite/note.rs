//! What is told of a run as it goes, and to whom.

use std::sync::Arc;
use std::time::Duration;

use super::plan::Target;
use crate::record::{CaseLine, GuestLine};

/// Something that a person or a report is told.
#[derive(Debug)]
pub enum Note {
    /// A kernel is there.
    Ready(Arc<Target>),
    /// A guest is ready.
    Booted {
        /// Its name.
        guest: String,
        /// The time that took.
        after: Duration,
    },
    /// A seat begins a case.
    Began {
        /// The number of the seat.
        seat: usize,
        /// The kernel's name.
        kernel: String,
        /// The case's full name.
        case: String,
    },
    /// A seat runs no case.
    Idle(usize),
    /// A case failed and is tried again.
    Again(Box<CaseLine>),
    /// A case is over.
    Ended(Box<CaseLine>),
    /// A guest is over.
    GuestEnded(GuestLine),
    /// A guest's disk is kept, and how to boot it.
    Kept(String),
    /// Nothing more can be run on a kernel.
    Broken(anyhow::Error),
}

/// Who is told of a run as it goes.
pub trait Observer {
    /// Something happened. Who cannot keep it says so when the run is over: a report is no reason to lose a
    /// verdict.
    fn note(&mut self, note: &Note);

    /// Some time has gone by.
    fn tick(&mut self);
}
