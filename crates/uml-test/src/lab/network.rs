//! Networks between guests.

use std::net::Ipv4Addr;

use anyhow::Result;
use uml_protocol::lab::{InterfaceAddresses, Reply, Request, Shape};

use super::connection::{Connection, unexpected};
use crate::part::give_addresses;

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
            Reply::Joined { interface, addresses: InterfaceAddresses { v4, v6, .. } } => {
                let v4_prefixed = format!("{v4}/{}", InterfaceAddresses::PREFIX_V4);
                let v6_prefixed = format!("{v6}/{}", InterfaceAddresses::PREFIX_V6);
                give_addresses(&interface, [v4_prefixed, v6_prefixed])?;
                Ok(v4)
            }
            other => unexpected(&other),
        }
    }

    fn cable(&self, guest: &str, plugged: bool) -> Result<()> {
        let (network, guest) = (self.name.clone(), guest.to_owned());
        self.connection.done(&Request::Cable { network, guest, plugged })
    }
}
