//! What makes the guests and disks of scenarios.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::config::ByteSize;
use crate::guest::{ExtraDisk, Guest, Interface};
use crate::kernel::Transport;

/// What a guest of a scenario is made of.
#[derive(Debug)]
pub struct GuestOrder<'o> {
    /// Its kernel, by its name in the configuration; without one, that of the case.
    pub kernel: Option<&'o str>,
    /// Its memory, if it is not to have as much as any guest.
    pub memory: Option<ByteSize>,
    /// Its interfaces.
    pub interfaces: &'o [Interface],
    /// More arguments for its kernel.
    pub arguments: &'o [String],
    /// Its disk.
    pub disk: &'o Path,
    /// Its disks beside that.
    pub disks: &'o [ExtraDisk],
}

/// A guest of a scenario that came up.
#[derive(Debug)]
pub struct MadeGuest<'a> {
    /// The guest.
    pub guest: Guest<'a>,
    /// What its kernel is called.
    pub kernel: String,
    /// How it reaches its taps.
    pub transport: Transport,
    /// Where its console goes.
    pub console: PathBuf,
}

/// Who makes guests for scenarios.
pub trait GuestMaker<'a>: Sync {
    /// Boots a guest.
    ///
    /// # Errors
    /// When there is no such kernel, no room for it, or it does not come up.
    fn make(&self, order: &GuestOrder<'_>) -> Result<MadeGuest<'a>>;

    /// Ends the guest whose process is known by this at once.
    fn kill(&self, process: i32);

    /// Gives the case's own guest the interface with that number, while it runs. Returns its name there, and a socket for
    /// its frames.
    ///
    /// # Errors
    /// When the guest does not take it.
    fn add_interface(&self, number: usize, mac: String) -> Result<(String, OwnedFd)>;

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
