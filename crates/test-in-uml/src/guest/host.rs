//! Where guests run, as far as a guest is concerned: a [`Stage`], or in tests one that plays it.

use std::fmt::Debug;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use socket2::Socket;

use crate::kernel::NetDriver;
use crate::stage::{
    Attachment, GuestCommand, GuestProcess, GuestStatus, InterfaceEnd, Link, Listener, Sight, Stage,
};

/// What a guest asks of where it runs; the methods of [`Stage`] say more.
pub trait GuestHost: Debug + Sync {
    /// What the network interfaces of guests are attached to.
    fn attachment(&self) -> Attachment;

    /// Adds a link for one more guest, whose network has that driver.
    ///
    /// # Errors
    /// When there is no room for it.
    fn add_link(&self, driver: NetDriver) -> Result<Link>;

    /// Gives the guest of a link one more interface; returns the host's end of it.
    ///
    /// # Errors
    /// When it cannot be made.
    fn add_interface(&self, link: &Link, name: &str, driver: NetDriver) -> Result<InterfaceEnd>;

    /// Removes the link of a guest that is gone.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove_link(&self, link: &Link) -> Result<()>;

    /// Shows a file to guests; returns where they see it.
    ///
    /// # Errors
    /// When it cannot be shown.
    fn expose(&self, path: &Path, name: &str) -> Result<PathBuf>;

    /// Shows a file to guests, who may write to it; returns where they see it.
    ///
    /// # Errors
    /// When it cannot be lent.
    fn lend(&self, path: &Path, name: &str) -> Result<PathBuf>;

    /// Makes a disk of that size that outlives the guest it is given to, with these contents and zeroes after them.
    /// Returns where guests see it.
    ///
    /// # Errors
    /// When it cannot be made.
    fn make_disk(&self, name: &str, contents: &File, size: u64) -> Result<PathBuf>;

    /// Removes such a disk.
    ///
    /// # Errors
    /// When it is not there.
    fn remove_disk(&self, name: &str) -> Result<()>;

    /// Takes back what was lent under that name.
    ///
    /// # Errors
    /// When it cannot be taken back.
    fn withdraw(&self, name: &str) -> Result<()>;

    /// What every guest with this kernel sees of the host.
    ///
    /// # Errors
    /// When one of them is not there.
    fn host_files(&self, kernel: &Path) -> Result<Sight>;

    /// Starts a guest's kernel.
    ///
    /// # Errors
    /// When it cannot be started.
    fn spawn(&self, link: &Link, command: &GuestCommand) -> Result<Box<dyn HostProcess + '_>>;

    /// Ends the processes that are known by this at once; none if they are gone.
    fn kill(&self, id: i32);

    /// Sends a command to a guest's management console.
    ///
    /// # Errors
    /// When the guest has none, or does not take it.
    fn mconsole(&self, link: &Link, command: &str) -> Result<()>;

    /// Connects to a guest.
    ///
    /// # Errors
    /// When nobody answers within `timeout`.
    fn connect(&self, address: SocketAddrV4, timeout: Duration) -> Result<Socket>;

    /// Listens on the host end of a link.
    ///
    /// # Errors
    /// When the port is taken.
    fn listen(&self, host: Ipv4Addr, port: u16) -> Result<Listener>;
}

/// The processes that are a guest on its host. Dropping this ends them.
pub trait HostProcess: Debug + Send {
    /// Tells how they ended; for a thread that waits for it.
    ///
    /// # Errors
    /// When it cannot be shared.
    fn status(&self) -> Result<GuestStatus>;

    /// Ends them at once.
    fn kill(&self);

    /// By what [`GuestHost::kill`] knows them.
    fn id(&self) -> i32;

    /// The time they were ready to run and had no CPU, so far.
    fn withheld(&mut self) -> Duration;
}

/// A guest's link, and what it was lent. Both are cleared away when this is dropped: after the guest's processes.
#[derive(Debug)]
pub(super) struct OwnLink<'a> {
    host: &'a dyn GuestHost,
    link: Link,
    lent: Option<String>,
    removed: bool,
}

impl<'a> OwnLink<'a> {
    pub fn add(host: &'a dyn GuestHost, driver: NetDriver) -> Result<Self> {
        Ok(Self { host, link: host.add_link(driver)?, lent: None, removed: false })
    }

    /// Lends the guest a file; returns where it sees it.
    pub fn lend(&mut self, path: &Path, name: &str) -> Result<PathBuf> {
        let place = self.host.lend(path, name)?;
        self.lent = Some(name.into());
        Ok(place)
    }

    pub fn remove(mut self) -> Result<()> {
        self.removed = true;
        self.clear_away()
    }

    fn clear_away(&mut self) -> Result<()> {
        let lent = self.lent.take().map_or(Ok(()), |name| self.host.withdraw(&name));
        self.host.remove_link(&self.link).and(lent)
    }
}

impl Deref for OwnLink<'_> {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Drop for OwnLink<'_> {
    fn drop(&mut self) {
        if !self.removed {
            // What cannot be removed goes with its host.
            let _ = self.clear_away();
        }
    }
}

impl GuestHost for Stage {
    fn attachment(&self) -> Attachment {
        self.attachment()
    }

    fn add_link(&self, driver: NetDriver) -> Result<Link> {
        self.add_link(driver)
    }

    fn add_interface(&self, link: &Link, name: &str, driver: NetDriver) -> Result<InterfaceEnd> {
        self.add_interface(link, name, driver)
    }

    fn remove_link(&self, link: &Link) -> Result<()> {
        self.remove_link(link)
    }

    fn expose(&self, path: &Path, name: &str) -> Result<PathBuf> {
        self.expose(path, name)
    }

    fn lend(&self, path: &Path, name: &str) -> Result<PathBuf> {
        self.lend(path, name)
    }

    fn make_disk(&self, name: &str, contents: &File, size: u64) -> Result<PathBuf> {
        self.make_disk(name, contents, size)
    }

    fn remove_disk(&self, name: &str) -> Result<()> {
        self.remove_disk(name)
    }

    fn withdraw(&self, name: &str) -> Result<()> {
        self.withdraw(name)
    }

    fn host_files(&self, kernel: &Path) -> Result<Sight> {
        self.host_files(kernel)
    }

    fn spawn(&self, link: &Link, command: &GuestCommand) -> Result<Box<dyn HostProcess + '_>> {
        Ok(Box::new(self.spawn(link, command)?))
    }

    fn kill(&self, id: i32) {
        self.kill(id);
    }

    fn mconsole(&self, link: &Link, command: &str) -> Result<()> {
        self.mconsole(link, command)
    }

    fn connect(&self, address: SocketAddrV4, timeout: Duration) -> Result<Socket> {
        self.connect(address, timeout)
    }

    fn listen(&self, host: Ipv4Addr, port: u16) -> Result<Listener> {
        self.listen(host, port)
    }
}

impl HostProcess for GuestProcess<'_> {
    fn status(&self) -> Result<GuestStatus> {
        self.status()
    }

    fn kill(&self) {
        self.kill();
    }

    fn id(&self) -> i32 {
        self.id()
    }

    fn withheld(&mut self) -> Duration {
        self.withheld()
    }
}
