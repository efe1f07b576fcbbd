//! The socket between us and S1: one message a packet, with descriptors beside it (unix(7)).

use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::share::Share;
use crate::confine::Sight;
use crate::kernel::NetDriver;

/// The longest message; a guest's arguments are far shorter.
const LONGEST: usize = 64 << 10;

/// A message with its number: who gave up waiting for a reply must not take it for another's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Numbered<T> {
    pub number: u64,
    pub message: T,
}

/// What we ask of S1.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StageRequest {
    /// Make the network and the folder of a guest.
    AddLink { index: u16 },
    /// Give a guest one more interface; the answer comes with sockets for its frames.
    AddInterface { index: u16, name: String, driver: NetDriver },
    /// Remove them, with what the guest left there.
    RemoveLink { index: u16 },
    /// Mount a file of the host into the stage's folder; its descriptor comes with it. A mount of another mount
    /// namespace cannot be bound by a descriptor (mount(2), EINVAL), so that the path is needed too.
    Expose { path: PathBuf, name: String },
    /// The same for a file that guests may write to.
    Lend { path: PathBuf, name: String },
    /// Make a disk; comes with what is in it.
    MakeDisk { name: String, size: u64 },
    /// Remove a disk.
    RemoveDisk { name: String },
    /// Take back what was lent under that name.
    Withdraw { name: String },
    /// Start a guest; comes with its console and its status pipe. The answer comes with a handle of its keeper where
    /// the kernel has such.
    Spawn {
        argv: Vec<OsString>,
        sight: Sight,
        share: Share,
        address_space: Option<u64>,
        index: u16,
    },
    /// Send a command to the management console of a link's guest.
    Mconsole { index: u16, command: String },
    /// Make a TCP socket in the network of a link, and send it back.
    Socket { index: u16 },
    /// Kill a keeper, and with it a guest.
    Kill { id: i32 },
}

/// What S1 answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The stage is there, in this folder.
    Begun { dir: PathBuf },
    /// It is done; `id` is a keeper's where one was started.
    Done { id: i32 },
    /// It failed.
    Failed { why: String },
}

pub(super) fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> Result<()> {
    let bytes = postcard::to_stdvec(message).context("cannot write a message")?;
    ensure!(bytes.len() <= LONGEST, "a message of {} bytes is too long", bytes.len());
    let fds: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let beside = if fds.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], beside, flags, None)
        .context("cannot send a message")?;
    Ok(())
}

/// The next message with its descriptors; nothing when the other side is gone. It waits for as long as the
/// socket's own limit lets it.
pub(super) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; LONGEST];
    let mut beside = nix::cmsg_space!([RawFd; 4]);
    let (length, fds) = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut beside), flags) {
            Ok(message) => {
                let fds: Vec<OwnedFd> = message.cmsgs()?.flat_map(descriptors).collect();
                break (message.bytes, fds);
            }
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => return Ok(None),
            Err(errno) => return Err(errno).context("cannot receive a message"),
        }
    };
    if length == 0 {
        return Ok(None);
    }
    let message = postcard::from_bytes(&bytes[..length]).context("cannot read a message")?;
    Ok(Some((message, fds)))
}

fn descriptors(message: ControlMessageOwned) -> Vec<OwnedFd> {
    let ControlMessageOwned::ScmRights(fds) = message else { return Vec::new() };
    // SAFETY: the kernel has just made these descriptors for us, and nobody else owns them.
    fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}
