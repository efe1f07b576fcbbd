//! The modules that a case loads, also those that it unloads again: what one leaves behind in the kernel, a
//! timer or a work item, may end a guest long after.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// The group in which the kernel itself speaks (lib/kobject_uevent.c).
const KERNEL: u32 = 1;

/// The kernel's word on modules, from now on.
pub struct ModuleEvents(OwnedFd);

impl ModuleEvents {
    pub fn watch() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let uevents = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, uevents)
            .context("cannot watch modules")?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL)).context("cannot watch modules")?;
        Ok(Self(socket))
    }

    /// Readable when something was added or removed.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The modules that were loaded since the last call.
    pub fn loaded(&self) -> Vec<String> {
        let mut loaded = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(count) => loaded.extend(module_added(&buffer[..count])),
                // There were more events than the socket holds.
                Err(Errno::ENOBUFS) => loaded.push("one whose name was lost".into()),
                Err(Errno::EINTR) => {}
                Err(_) => return loaded,
            }
        }
    }
}

/// `add@/module/NAME`, and more after a zero.
fn module_added(event: &[u8]) -> Option<String> {
    let first = event.split(|byte| *byte == 0).next()?;
    let name = first.strip_prefix(b"add@/module/")?;
    Some(String::from_utf8_lossy(name).into_owned())
}
