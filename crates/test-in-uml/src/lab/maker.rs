//! What makes the guests and disks of scenarios.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use uml_protocol::lab::Autoconfiguration;

use crate::cancel::CancelToken;
use crate::config::ByteSize;
use crate::guest::{Connect, ExtraDisk, Guest, Interface};
use crate::kernel::NetDriver;
use crate::stage::InterfaceEnd;

/// What a guest of a scenario is made of.
#[derive(Debug)]
pub struct GuestOrder<'o> {
    /// Its kernel, by its name in the configuration; without one, that of the case.
    pub kernel: Option<&'o str>,
    /// Its memory, if it is not to have as much as any guest.
    pub memory: Option<ByteSize>,
    /// Its interfaces.
    pub interfaces: &'o [Interface],
    /// Who connects these.
    pub connect: Connect<'o>,
    /// More arguments for its kernel.
    pub arguments: &'o [String],
    /// What its kernel configures by itself, if anything.
    pub kernel_ip: Option<KernelIp>,
    /// Its disk.
    pub disk: &'o Path,
    /// Its disks beside that.
    pub disks: &'o [ExtraDisk],
    /// Ends its boot and whatever it is asked for.
    pub cancel: &'o CancelToken,
}

/// What a kernel does about its first interface in a network before init runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelIp {
    /// How it comes by an address.
    pub by: Autoconfiguration,
    /// The address that the network has for it.
    pub address: Ipv4Addr,
}

impl KernelIp {
    /// Its argument (Documentation/admin-guide/nfs/nfsroot.rst).
    pub fn argument(self, net_driver: NetDriver) -> String {
        let interface = net_driver.interface(1);
        let by = match self.by {
            Autoconfiguration::Static => {
                let address = self.address;
                return format!("ip={address}:::255.255.255.0::{interface}:off");
            }
            Autoconfiguration::Dhcp => "dhcp",
            Autoconfiguration::Bootp => "bootp",
            Autoconfiguration::Rarp => "rarp",
        };
        format!("ip=:::::{interface}:{by}")
    }
}

/// A guest of a scenario that came up.
#[derive(Debug)]
pub struct MadeGuest<'a> {
    /// The guest.
    pub guest: Guest<'a>,
    /// What its kernel is called.
    pub kernel: String,
    /// What drives its interfaces.
    pub net_driver: NetDriver,
    /// Where its console goes.
    pub console: PathBuf,
}

/// Who makes guests for scenarios.
pub trait GuestMaker<'a>: Sync {
    /// Boots a guest. As long as it waits for its kernel, `wanted` is asked every [`ATTENTION`](super::ATTENTION).
    ///
    /// # Errors
    /// When there is no such kernel, no room for it, or it does not come up.
    fn make(&self, order: &GuestOrder<'_>, wanted: &dyn Fn() -> bool) -> Result<MadeGuest<'a>>;

    /// Ends the guest whose process is known by this at once.
    fn kill(&self, process: i32);

    /// Gives the case's own guest the interface with that number, while it runs. Returns its name there, and the host's
    /// end of it.
    ///
    /// # Errors
    /// When the guest does not take it.
    fn add_interface(&self, number: usize, mac: String) -> Result<(String, InterfaceEnd)>;

    /// Makes a disk with the image of the run; returns where guests see it.
    ///
    /// # Errors
    /// When it cannot be made.
    fn make_root(&self, name: &str) -> Result<PathBuf>;

    /// Makes a disk of so many bytes, all of them zero; returns where guests see it.
    ///
    /// # Errors
    /// When it cannot be made.
    fn make_disk(&self, name: &str, size: u64) -> Result<PathBuf>;

    /// Removes a disk that no guest uses any more.
    ///
    /// # Errors
    /// When it is not there.
    fn remove_disk(&self, name: &str) -> Result<()>;
}
