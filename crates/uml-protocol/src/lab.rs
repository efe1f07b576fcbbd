//! What a case asks of the host for its scenario: more guests, networks between them, and what happens to both.
//!
//! A connection to the host's peer begins with the line `lab VERSION TOKEN`: the version of the protocol
//! ([`VERSION`](crate::wire::VERSION)), and the token of the case. Then come
//! messages of [`wire`](crate::wire), a [`Reply`] for each [`Request`]. After [`Request::Guest`] the connection is
//! that guest's: the guest is there until it ends.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

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
        /// True if it is plugged in.
        plugged: bool,
    },
    /// Give the case's own guest an interface in a network.
    Join {
        /// The network.
        network: String,
    },
    /// Have a network do this to each frame from now on.
    Shape {
        /// The network.
        network: String,
        /// What.
        shape: Shape,
    },
    /// Make a disk of so many bytes, all of them zero.
    Disk {
        /// Its name.
        name: String,
        /// Its size.
        size: u64,
    },
    /// This connection is that of a guest from now on, which is not booted yet.
    Guest(GuestSpec),
    /// Boot the guest, with the disk that it had before, if it had one.
    Boot,
    /// Run something in it.
    Run(Task),
    /// End the guest of another connection at once, as a power cut does, whatever it is doing.
    Kill(String),
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

/// What a network does to each frame; by default nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// So many of a thousand are lost.
    pub loss: u16,
    /// So long they are on their way.
    pub delay: Duration,
    /// Up to so much longer, each as it comes: one may overtake another.
    pub jitter: Duration,
    /// So many bytes a second pass, if that is bounded.
    pub rate: Option<u64>,
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
    /// Its disks beside that of its root, in their order: `/dev/ubdb` and on.
    pub disks: Vec<DiskUse>,
    /// More arguments for its kernel.
    pub arguments: Vec<String>,
    /// How its kernel configures its first interface by itself, if it does (Documentation/admin-guide/nfs/nfsroot.rst).
    pub autoconfiguration: Option<Autoconfiguration>,
    /// Its root, if that is not on its disk: what a server with an address exports over NFS.
    pub nfs_root: Option<(Ipv4Addr, String)>,
}

/// How a kernel comes by the address of an interface before init runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Autoconfiguration {
    /// Its command line has the address.
    Static,
    /// It asks a DHCP server.
    Dhcp,
    /// It asks a BOOTP server.
    Bootp,
    /// It asks a RARP server.
    Rarp,
}

/// The addresses of a guest in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceAddresses {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl InterfaceAddresses {
    /// How long the prefix of a network is.
    pub const PREFIX_V4: u8 = 24;
    /// The same of its IPv6 addresses.
    pub const PREFIX_V6: u8 = 64;

    /// Those of the guest with that number in the network with that number: the same each time. The hardware address
    /// is locally administered.
    pub fn of(network: u8, guest: u8) -> Self {
        Self {
            mac: [0x02, 0x00, 0x0a, 0x56, network, guest],
            v4: Ipv4Addr::new(10, 86, network, guest),
            v6: Ipv6Addr::new(0xfd10, 0x86, network.into(), 0, 0, 0, 0, guest.into()),
        }
    }

    /// The hardware address as it is written.
    pub fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}

/// A disk in a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUse {
    /// The disk.
    pub name: String,
    /// True if the guest cannot write to it.
    pub read_only: bool,
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
    /// The guest is planned, and has these for each of its networks.
    Planned(Vec<InterfaceAddresses>),
    /// The case's own guest has this interface, which has no address yet; these are its own.
    Joined {
        /// Its name.
        interface: String,
        /// What it is to be given.
        addresses: InterfaceAddresses,
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
    /// `INTERFACE ADDRESS/PREFIX…`, one interface a line.
    pub const INTERFACES: &str = "UML_LAB_INTERFACES";
}
