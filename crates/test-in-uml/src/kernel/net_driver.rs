//! How a kernel reaches its host.

/// How a guest's control link reaches the tap; which one, the kernel's configuration decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The vector driver, `vec0` and on in the guest.
    Vector,
    /// The driver of old kernels, `eth0` and on in the guest.
    Tuntap,
}

impl Transport {
    /// The name in the guest of its interface with that number; the first is that of its link.
    pub fn interface(self, index: usize) -> String {
        match self {
            Transport::Vector => format!("vec{index}"),
            Transport::Tuntap => format!("eth{index}"),
        }
    }
}
