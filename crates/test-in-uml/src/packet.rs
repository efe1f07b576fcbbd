//! Messages on a socket that keeps them apart: one a packet, with descriptors beside it (unix(7)).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message; a guest's arguments are far shorter.
const LONGEST: usize = 64 << 10;

/// Sends a message, and these descriptors with it.
///
/// # Errors
/// When it is too long, or the other side is gone.
pub(crate) fn send(
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
pub(crate) fn receive<T: DeserializeOwned>(
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
