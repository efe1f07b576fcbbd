//! Settings of the kernel that a case writes to: detectors' limits, levels of the log, the network's. What
//! they were before is not known then, so the guest is not what it was.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use uml_protocol::wire::Leftover;

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
pub struct Settings {
    inotify: Inotify,
    folders: BTreeMap<WatchDescriptor, &'static str>,
}

impl Settings {
    pub fn watch() -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .context("cannot watch the kernel's settings")?;
        let mut folders = BTreeMap::new();
        for folder in FOLDERS {
            match inotify.add_watch(folder, AddWatchFlags::IN_MODIFY) {
                Ok(watch) => drop(folders.insert(watch, folder)),
                Err(Errno::ENOENT) => {}
                Err(errno) => {
                    return Err(errno).with_context(|| format!("cannot watch {folder}"));
                }
            }
        }
        Ok(Self { inotify, folders })
    }

    /// Readable when one was written to.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Names those that were written to.
    pub fn written(&self) -> Vec<Leftover> {
        let mut places = Vec::new();
        while let Ok(events) = self.inotify.read_events() {
            // A file system that is unmounted is told of elsewhere.
            for event in events.into_iter().filter(|event| {
                event.mask.intersects(AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_Q_OVERFLOW)
            }) {
                let folder =
                    self.folders.get(&event.wd).copied().unwrap_or("more than can be named");
                let name = event.name.unwrap_or_default();
                if REQUESTS.iter().any(|request| name == **request) {
                    continue;
                }
                let place = format!("{folder}/{}", name.to_string_lossy());
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        places.into_iter().map(Leftover::Setting).collect()
    }
}
