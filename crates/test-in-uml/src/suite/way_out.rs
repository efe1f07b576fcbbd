//! The way out of a guest of cases, in a run that lets them have one.

use std::sync::Arc;

use anyhow::Result;

use crate::cancel::CancelToken;
use crate::guest::Interface;
use crate::guest_network::GuestNetwork;
use crate::kernel::NetDriver;
use crate::stage::InterfaceEnd;
use crate::threads;

/// A guest's way to whatever we reach ourselves. It is there until this is dropped.
#[derive(Debug)]
pub(super) struct WayOut {
    network: Arc<GuestNetwork>,
    over: CancelToken,
}

impl WayOut {
    /// That of the guest of this name.
    pub fn open(cancel: &CancelToken, guest: &str) -> Result<Self> {
        let network = GuestNetwork::online(cancel, guest, &[], None)?;
        Ok(Self { network: Arc::new(network), over: CancelToken::default() })
    }

    /// The guest's interface.
    pub fn interface(&self) -> Interface {
        self.network.interface()
    }

    /// The arguments that tell the guest's kernel of it.
    pub fn arguments(&self, driver: NetDriver) -> Vec<String> {
        self.network.arguments(driver)
    }

    /// Passes frames on from now on, between the guest and whoever it speaks with.
    ///
    /// # Errors
    /// When no thread can be started for it.
    pub fn serve(&self, guest: InterfaceEnd) -> Result<()> {
        let (network, over) = (Arc::clone(&self.network), self.over.clone());
        threads::spawn(move || network.serve(&guest, &over)).map(drop)
    }
}

impl Drop for WayOut {
    fn drop(&mut self) {
        self.over.cancel();
    }
}
