//! What a run needs of the host beside programs and files.

use std::fmt;

/// Something that the host grants or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facility {
    /// Namespaces that may do something.
    Namespaces,
    /// A tmpfs in them.
    Tmpfs,
    /// Their loopback.
    Loopback,
    /// A tap.
    Tap,
    /// Tracing a child.
    Ptrace,
    /// Addresses that are the same each time.
    Personality,
    /// A filter of system calls.
    Seccomp,
    /// Landlock.
    Landlock,
    /// A limit on the processes of one guest.
    ProcessLimit,
    /// A root of its own.
    PivotRoot,
}

impl Facility {
    const ALL: [Self; 10] = [
        Self::Namespaces,
        Self::Tmpfs,
        Self::Loopback,
        Self::Tap,
        Self::Ptrace,
        Self::Personality,
        Self::Seccomp,
        Self::Landlock,
        Self::ProcessLimit,
        Self::PivotRoot,
    ];

    /// Its name, as `doctor` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Tmpfs => "tmpfs",
            Self::Loopback => "loopback",
            Self::Tap => "tap",
            Self::Ptrace => "ptrace",
            Self::Personality => "personality",
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::ProcessLimit => "process limit",
            Self::PivotRoot => "pivot_root",
        }
    }

    /// The one with that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|facility| facility.name() == name)
    }

    /// Returns true if guests cannot do without it, in namespaces or else in a folder of the host. The others save memory, or
    /// are walls behind a wall.
    pub(super) fn is_needed(self, with_taps: bool, in_namespaces: bool) -> bool {
        match self {
            Self::Personality | Self::Seccomp | Self::Landlock | Self::ProcessLimit => false,
            Self::Tap => with_taps,
            Self::Ptrace => true,
            Self::Namespaces | Self::Tmpfs | Self::Loopback | Self::PivotRoot => in_namespaces,
        }
    }
}

impl fmt::Display for Facility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A facility that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// What was tried.
    pub facility: Facility,
    /// Why it is not to be had.
    pub result: Result<(), String>,
}
