//! Networks between guests.

use anyhow::Result;
use uml_protocol::lab::{Request, Shape};

use super::connection::Connection;

/// A network between guests.
#[derive(Debug)]
pub struct Network {
    pub(super) name: String,
    pub(super) connection: Connection,
}

impl Network {
    /// Plugs the cable of a guest out: nothing reaches it, and nothing comes from it.
    ///
    /// # Errors
    /// When there is no such guest in the network.
    pub fn unplug(&self, guest: &str) -> Result<()> {
        self.cable(guest, false)
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// When there is no such guest in the network.
    pub fn plug(&self, guest: &str) -> Result<()> {
        self.cable(guest, true)
    }

    /// Has it do this to each frame from now on. What a sender left to its card to cut is one frame, of up to 64 KiB.
    ///
    /// # Errors
    /// When the host cannot be asked.
    pub fn shape(&self, shape: Shape) -> Result<()> {
        self.connection.done(&Request::Shape { network: self.name.clone(), shape })
    }

    fn cable(&self, guest: &str, plugged: bool) -> Result<()> {
        let (network, guest) = (self.name.clone(), guest.to_owned());
        self.connection.done(&Request::Cable { network, guest, plugged })
    }
}
