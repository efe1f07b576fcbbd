//! Networks between guests.

use std::net::Ipv4Addr;

use anyhow::Result;
use uml_protocol::lab::{Reply, Request, Shape};

use super::connection::{Connection, unexpected};
use crate::part::give_address;

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

    /// Gives the case's own guest an interface in it, whose address is returned; other guests know it as `case`. The
    /// guest is for no other case then.
    ///
    /// # Errors
    /// When its kernel takes no interface while it runs.
    pub fn join(&self) -> Result<Ipv4Addr> {
        match self.connection.ask(&Request::Join { network: self.name.clone() })? {
            Reply::Joined { interface, address, prefix } => {
                give_address(&interface, &format!("{address}/{prefix}"))?;
                Ok(address)
            }
            other => unexpected(&other),
        }
    }

    fn cable(&self, guest: &str, plugged: bool) -> Result<()> {
        let (network, guest) = (self.name.clone(), guest.to_owned());
        self.connection.done(&Request::Cable { network, guest, plugged })
    }
}
