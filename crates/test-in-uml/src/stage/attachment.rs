//! What the network interfaces of guests are attached to.

use std::fmt;

use crate::isolation::{Facility, Isolation, Privilege};

/// What the network interfaces of guests are attached to on the host; found by trying, the same for all guests of
/// a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// A tap each, in a network namespace. The fastest, and the host's kernel is the other end.
    Tap,
    /// A Unix socket each. That needs neither a device nor a privilege; the other end is in our own process.
    Socket,
}

impl Attachment {
    /// The faster one that this host grants.
    pub fn of(isolation: &Isolation) -> Self {
        let in_namespaces = *isolation.privilege() != Privilege::None;
        if in_namespaces && isolation.grants(Facility::Tap) { Self::Tap } else { Self::Socket }
    }

    /// Returns true if this is a tap.
    pub fn is_tap(self) -> bool {
        self == Self::Tap
    }

    pub(super) const ALL: [Self; 2] = [Self::Tap, Self::Socket];

    /// Its name, as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tap => "tap",
            Self::Socket => "socket",
        }
    }

    /// The one with that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attachment| attachment.name() == name)
    }
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
