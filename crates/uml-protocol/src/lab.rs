//! What a case asks of the host for its scenario: more guests, networks between them, and what happens to both.
//!
//! A connection to the host's peer begins with the line `lab TOKEN`, where the token is that of the case. Then come
//! messages of [`wire`](crate::wire), a [`Reply`] for each [`Request`]. After [`Request::Guest`] the connection is
//! that guest's: the guest is there until it ends.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::wire::ProcessEnd;

/// The first word of the line that begins such a connection.
pub const GREETING: &str = "lab";

/// What a case asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Make a network.
    Network(NetworkSpec),
    /// Plug a guest's cable in or out.
    Cable {
        /// The network.
        network: String,
        /// The guest.
        guest: String,
        /// Whether it is plugged in.
        plugged: bool,
    },
    /// This connection is that of a guest from now on, which is not booted yet.
    Guest(GuestSpec),
    /// Boot the guest, with the disk that it had before, if it had one.
    Boot,
    /// Run something in it.
    Run(Task),
    /// End it at once, as a power cut does.
    Kill,
    /// Ask it to switch itself off.
    PowerOff,
    /// What its console showed, since it was first booted.
    Log,
    /// Its kernel will say this, which is no failure.
    ExpectMessage(String),
    /// It will end by itself, and say this.
    ExpectDeath(String),
}

/// A network between guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
}

/// A guest of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// Its name; others find it by that.
    pub name: String,
    /// Its kernel, by its name in the configuration; without one, that of the case.
    pub kernel: Option<String>,
    /// Its memory in MiB; without this, as much as any guest has.
    pub memory: Option<u32>,
    /// The networks that it has an interface in, in their order.
    pub networks: Vec<String>,
    /// More arguments for its kernel.
    pub arguments: Vec<String>,
}

/// Something that a guest runs, as root, in `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// A line for its shell.
    Command(String),
    /// A function of the test binary.
    Function {
        /// How far it is from a function that both sides know, in bytes: a binary may be loaded anywhere.
        offset: u64,
        /// A text for it, if it takes one.
        argument: Option<String>,
    },
}

/// What the host answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// It cannot be done.
    Failed(String),
    /// The guest is up.
    Booted {
        /// Its addresses, one for each of its networks.
        addresses: Vec<Ipv4Addr>,
    },
    /// What was run is over.
    Ran {
        /// How its process ended.
        end: ProcessEnd,
        /// What it wrote to standard output and standard error.
        #[serde(with = "serde_bytes")]
        output: Vec<u8>,
    },
    /// The guest ended meanwhile, and how.
    Ended(String),
    /// Lines of a console.
    Log(Vec<String>),
}

/// Variables of what the host has a guest of a scenario run.
pub mod env {
    /// The token of the case, by which it asks for a scenario.
    pub const TOKEN: &str = "UML_LAB_TOKEN";
    /// The kernels of the run, which guests can have, one a line.
    pub const KERNELS: &str = "UML_LAB_KERNELS";
    /// A line for the shell.
    pub const COMMAND: &str = "UML_LAB_COMMAND";
    /// How far a function is from the one that both sides know, in decimal.
    pub const FUNCTION: &str = "UML_LAB_FUNCTION";
    /// The text for it.
    pub const ARGUMENT: &str = "UML_LAB_ARGUMENT";
    /// Nothing is run: the guest is to know others by their names.
    pub const NAMES: &str = "UML_LAB_NAMES";
    /// The same, and it is to have its own name and its interfaces.
    pub const SET_UP: &str = "UML_LAB_SET_UP";
    /// The guest's own name.
    pub const NAME: &str = "UML_LAB_NAME";
    /// Addresses and names, as in hosts(5).
    pub const HOSTS: &str = "UML_LAB_HOSTS";
    /// `INTERFACE ADDRESS/PREFIX`, one a line.
    pub const INTERFACES: &str = "UML_LAB_INTERFACES";
}
