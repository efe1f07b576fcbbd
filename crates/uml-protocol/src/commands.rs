//! What a person asks of a guest: commands, and files to and from it. One connection, one request.
//!
//! Both sides greet each other as [`wire`](crate::wire) has it; then comes a [`Request`], and what belongs to it.

use serde::{Deserialize, Serialize};

use crate::wire::{ProcessEnd, Stream};

/// The TCP port of a guest that takes such requests.
pub const PORT: u16 = 7880;

/// Kernel parameter with the IPv4 address that requests may come from; without it the guest takes none.
pub const PARAMETER: &str = "uml_agent.commands";

/// The most bytes of input that the guest has not taken yet. With more of it on the way, a signal would wait behind what
/// a command does not read.
pub const WINDOW: usize = 256 << 10;

/// The first message of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Run a command, as root.
    Run(Command),
    /// Take files: an archive follows as input.
    Put(Destination),
    /// Send the file or the folder at this place, as an archive on standard output.
    Get(String),
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The terminal that it gets; without one, its standard streams are pipes.
    pub terminal: Option<Terminal>,
}

/// The terminal of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Its kind, as `TERM` says it.
    pub kind: String,
    /// How large it is.
    pub size: TerminalSize,
}

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// How high.
    pub rows: u16,
    /// How wide.
    pub columns: u16,
}

/// Where files go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// A folder that is there, or else the place of the file or folder itself.
    pub place: String,
    /// What it is called in that folder.
    pub name: String,
    /// True if the place must be a folder.
    pub into: bool,
}

/// What the host says after its request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToCommand {
    /// More input.
    Input(#[serde(with = "serde_bytes")] Vec<u8>),
    /// There will be no more.
    InputOver,
    /// The terminal has another size now.
    Resize(TerminalSize),
    /// Send the command this signal, and all that it started.
    Signal(i32),
}

/// What the guest answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromCommand {
    /// So many bytes of input were taken.
    Taken(usize),
    /// It wrote something. A terminal is all standard output.
    Output {
        /// Where to.
        stream: Stream,
        /// What.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// It is over; the last message.
    Ended(ProcessEnd),
    /// What was asked cannot be done; the last message.
    Failed(String),
}
