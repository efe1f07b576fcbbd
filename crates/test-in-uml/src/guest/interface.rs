//! Interfaces of guests beside that of their link.

/// An interface in a network of guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The tap on the host.
    pub tap: String,
    /// Its hardware address.
    pub mac: String,
}
