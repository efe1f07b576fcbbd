//! The driver of a kernel's network interfaces.

use serde::{Deserialize, Serialize};

/// What a kernel's network interfaces are driven by; which one, its configuration decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetDriver {
    /// The vector driver, `vec0` and on in the guest.
    Vector,
    /// The driver of old kernels, `eth0` and on in the guest.
    Legacy,
}

impl NetDriver {
    /// The longest packet that a link through a socket takes, in bytes: each is a system call on our side, and the
    /// vector driver takes any length (`mtu=` on its command line).
    pub fn socket_mtu(self) -> usize {
        match self {
            NetDriver::Vector => 16_000,
            NetDriver::Legacy => 1500,
        }
    }

    /// The name in the guest of its interface with that number; the first is that of its link.
    pub fn interface(self, index: usize) -> String {
        match self {
            NetDriver::Vector => format!("vec{index}"),
            NetDriver::Legacy => format!("eth{index}"),
        }
    }
}
