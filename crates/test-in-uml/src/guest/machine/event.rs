//! What happens to a guest, and what is to be done about it.

use std::process::ExitStatus;
use std::time::Duration;

use uml_protocol::wire::ToHost;

/// Something that happened to a guest.
#[derive(Debug)]
pub enum GuestEvent {
    /// The console said this.
    Line(String),
    /// The console ended: no process of the guest is left.
    ConsoleClosed,
    /// The agent greeted us.
    Connected,
    /// The agent sent a message.
    Message(ToHost),
    /// The connection broke.
    Disconnected(String),
    /// The guest's process ended; nothing if its keeper was killed.
    Exited(Option<ExitStatus>),
    /// The time that was granted last is over.
    Deadline,
    /// We ask for a case.
    Run {
        /// Its sequence number.
        sequence: u32,
        /// The time it may take, by our clock.
        limit: Duration,
    },
    /// We ask for the end.
    PowerOff,
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to the agent's port.
    Connect(u16),
    /// Grant this long until the next [`GuestEvent::Deadline`].
    Grant(Duration),
    /// Ask the guest's kernel where its tasks are: its agent does not answer any more.
    Trace,
    /// End the guest's processes.
    Kill,
}

/// The time the steps of a guest's life may take.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// From power-on to the agent's ready marker.
    pub boot: Duration,
    /// From there to the agent's greeting.
    pub connect: Duration,
    /// From our request to the end of the process.
    pub power_off: Duration,
    /// From a sign of the end to the end, for status and console to arrive.
    pub grace: Duration,
    /// For the traces of a guest that hangs.
    pub traces: Duration,
    /// For the search for leaks before a guest switches itself off.
    pub search: Duration,
    /// From a case's end marker on the console to the agent's word that the case is over.
    pub marker: Duration,
}
