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
    /// The name in the guest of its interface with that number; the first is that of its link.
    pub fn interface(self, index: usize) -> String {
        match self {
            NetDriver::Vector => format!("vec{index}"),
            NetDriver::Legacy => format!("eth{index}"),
        }
    }
}
