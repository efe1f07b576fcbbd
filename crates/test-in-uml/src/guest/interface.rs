//! Interfaces of guests beside that of their link.

use std::fmt;

use anyhow::Result;

use crate::stage::InterfaceEnd;

/// An interface in a network of guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name on the host.
    pub name: String,
    /// Its hardware address.
    pub mac: String,
}

/// Who connects the interfaces of a guest to their networks: each, by its place, with the host's end of it. A
/// kernel may ask its network for an address before anything else runs, so that comes before the guest starts.
#[derive(Clone, Copy)]
pub struct Connect<'a>(pub &'a dyn Fn(usize, InterfaceEnd) -> Result<()>);

impl Connect<'_> {
    /// Of a guest without interfaces.
    pub const NONE: Self = Self(&|_, _| Ok(()));
}

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connect")
    }
}
