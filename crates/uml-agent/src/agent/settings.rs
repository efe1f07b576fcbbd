//! Settings of the kernel that a case writes to: detectors' limits, levels of the log, the network's. What
//! they were before is not known then, so the guest is not what it was.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::inotify::AddWatchFlags;
use uml_protocol::wire::Leftover;

use crate::watched_folders::WatchedFolders;

/// Where they are (sysctl/*.rst, and parameters of what is built into the kernel). To look for folders takes
/// the kernel longer than a case; what it does not have is passed over.
const FOLDERS: [&str; 16] = [
    "/proc/sys/kernel",
    "/proc/sys/vm",
    "/proc/sys/fs",
    "/proc/sys/debug",
    "/proc/sys/sunrpc",
    "/proc/sys/net/core",
    "/proc/sys/net/ipv4",
    "/proc/sys/net/ipv4/conf/all",
    "/proc/sys/net/ipv4/conf/default",
    "/proc/sys/net/ipv4/conf/lo",
    "/proc/sys/net/ipv6",
    "/proc/sys/net/ipv6/conf/all",
    "/proc/sys/net/ipv6/conf/default",
    "/proc/sys/net/netfilter",
    "/sys/module/printk/parameters",
    "/sys/module/kfence/parameters",
];

/// What is among them and is a request, and no setting.
const REQUESTS: [&str; 2] = ["drop_caches", "compact_memory"];

/// The settings, watched from now on.
pub struct Settings(WatchedFolders);

impl Settings {
    pub fn watch() -> Result<Self> {
        let mut folders = WatchedFolders::new()?;
        for folder in FOLDERS {
            match folders.add(Path::new(folder), folder.into(), AddWatchFlags::IN_MODIFY) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => {
                    return Err(errno).with_context(|| format!("cannot watch {folder}"));
                }
            }
        }
        Ok(Self(folders))
    }

    /// Readable when one was written to.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Names those that were written to.
    pub fn written(&self) -> Vec<Leftover> {
        let is_request = |place: &PathBuf| REQUESTS.iter().any(|request| place.ends_with(request));
        let settings = self.0.changed().into_iter().filter(|place| !is_request(place));
        settings.map(|place| Leftover::Setting(place.display().to_string())).collect()
    }
}
