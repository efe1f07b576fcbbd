//! Where a guest is in its life.

use super::{CaseRecord, End};

/// Where a guest is in its life.
#[derive(Debug)]
pub enum GuestState {
    /// Powered on.
    Booting,
    /// The agent listens; we connect.
    Connecting,
    /// Nothing runs.
    Ready,
    /// A case runs.
    Running(Box<CaseRecord>),
    /// We asked for the end.
    ShuttingDown,
    /// There was a sign of the end; status and console may still arrive.
    Ending(End),
    /// It is over.
    Over(End),
}
