//! What a guest is made of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command_line::{Init, LinkBy};
use super::cow::{Disk, ExtraDisk};
use super::interface::{Connect, Interface};
use crate::cancel::CancelToken;
use crate::config::ByteSize;
use crate::kernel::NetDriver;
use crate::stage::Share;

/// Room for events that the driver has not looked at yet: a guest that floods us waits. One event
/// holds at most a message of the agent's.
pub(super) const EVENTS: usize = 256;

/// What a guest is made of.
#[derive(Debug)]
pub struct GuestSpec<'a> {
    /// Its name in the run folder.
    pub name: &'a str,
    /// The kernel binary on the host, and as the stage shows it.
    pub kernel: (&'a PathBuf, &'a Path),
    /// The image on the host, and as the stage shows it.
    pub image: (&'a PathBuf, &'a Path),
    /// Its disk.
    pub disk: Disk<'a>,
    /// Memory of the guest.
    pub memory: ByteSize,
    /// How it reaches its link.
    pub net_driver: NetDriver,
    /// Who gives the guest its address on its link.
    pub link_by: LinkBy,
    /// What it runs.
    pub init: Init,
    /// Arguments that this kernel's era has.
    pub era: &'a [&'a str],
    /// What its kernel complains of at each boot.
    pub known_boot_complaints: &'a [String],
    /// Its disks beside that of its root.
    pub disks: &'a [ExtraDisk],
    /// Its interfaces beside that of its link.
    pub interfaces: &'a [Interface],
    /// Who connects these.
    pub connect: Connect<'a>,
    /// More arguments for its kernel.
    pub arguments: &'a [String],
    /// The nonce of the run.
    pub nonce: &'a str,
    /// What it gets of the host.
    pub share: Share,
    /// Ends its boot and whatever it is asked for.
    pub cancel: &'a CancelToken,
    /// The time it may take to become ready.
    pub boot_timeout: Duration,
    /// Where its console goes.
    pub console_log: PathBuf,
}
