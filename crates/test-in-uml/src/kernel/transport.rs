//! How a kernel reaches its host.

/// How a guest's control link reaches the tap; which one, the kernel's configuration decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The vector driver, `vec0` in the guest.
    Vector,
    /// The driver of old kernels, `eth0` in the guest.
    Tuntap,
}

impl Transport {
    /// The interface's name in the guest.
    pub fn interface(self) -> &'static str {
        match self {
            Transport::Vector => "vec0",
            Transport::Tuntap => "eth0",
        }
    }
}
