//! What a guest of a scenario is to be, before it is there.

use anyhow::Result;
use uml_protocol::lab::{Autoconfiguration, DiskUse, GuestSpec, Reply, Request};

use super::connection::{Connection, unexpected};
use super::{Disk, LabGuest, Network};

/// A guest that is not there yet.
#[derive(Debug, Clone)]
pub struct GuestPlan(GuestSpec);

impl GuestPlan {
    pub(super) fn new(name: &str) -> Self {
        Self(GuestSpec { name: name.into(), ..GuestSpec::default() })
    }

    /// Gives it this kernel, by its name in the configuration. It has to be one of those that are tested.
    #[must_use]
    pub fn kernel(mut self, name: &str) -> Self {
        self.0.kernel = Some(name.into());
        self
    }

    /// Gives it so much memory, in MiB.
    #[must_use]
    pub fn memory(mut self, mib: u32) -> Self {
        self.0.memory = Some(mib);
        self
    }

    /// Gives it one more interface, in this network.
    #[must_use]
    pub fn on(mut self, network: &Network) -> Self {
        self.0.networks.push(network.name.clone());
        self
    }

    /// Gives it one more disk: the first is `/dev/ubdb`, the next `/dev/ubdc`.
    #[must_use]
    pub fn disk(self, disk: &Disk) -> Self {
        self.with_disk(disk, false)
    }

    /// The same, and it cannot write to it.
    #[must_use]
    pub fn read_only_disk(self, disk: &Disk) -> Self {
        self.with_disk(disk, true)
    }

    fn with_disk(mut self, disk: &Disk, read_only: bool) -> Self {
        self.0.disks.push(DiskUse { name: disk.name.clone(), read_only });
        self
    }

    /// Gives its kernel one more argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.0.arguments.push(argument.into());
        self
    }

    /// Has its kernel configure its first interface before init runs, by the `ip=` that the kernel knows. A server in
    /// that network finds it by [`LabGuest::mac`], and [`LabGuest::address`] is free for it there.
    #[must_use]
    pub fn autoconfigured(mut self, how: Autoconfiguration) -> Self {
        self.0.autoconfiguration = Some(how);
        self
    }

    /// Gives it for its root what a guest exports over NFS at that path, of which it needs an address by then.
    #[must_use]
    pub fn root_on_nfs(mut self, server: &LabGuest, path: &str) -> Self {
        self.0.nfs_root = Some((server.address(), path.into()));
        self.0.autoconfiguration.get_or_insert(Autoconfiguration::Static);
        self
    }

    /// Has the guest, switched off: others can be told of it before it boots.
    ///
    /// # Errors
    /// When its name is taken, or a network is not there.
    pub fn make(self) -> Result<LabGuest> {
        let name = self.0.name.clone();
        let connection = Connection::open()?;
        match connection.ask(&Request::Guest(self.0))? {
            Reply::Planned(addresses) => Ok(LabGuest { name, addresses, connection }),
            other => unexpected(&other),
        }
    }

    /// Boots it, and gives its interfaces their addresses.
    ///
    /// # Errors
    /// When it does not come up, or the host has no room for it.
    pub fn boot(self) -> Result<LabGuest> {
        let guest = self.make()?;
        guest.boot()?;
        Ok(guest)
    }
}
