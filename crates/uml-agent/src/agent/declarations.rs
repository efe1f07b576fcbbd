//! What a case declares of its kernel before it happens, by a socket of its own.
//!
//! The agent writes a marker before it answers: whatever the kernel says next comes after it on the
//! console, and a guest that dies has told already.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use uml_protocol::marker::{Event, Expectation};

use crate::Log;

/// The longest declaration, in bytes: with its marker it fits a line of the kernel log.
const LONGEST: usize = 512;

/// Our end of a case's socket.
pub struct Declarations(OwnedFd);

impl Declarations {
    /// Our end, and that of the case, which is closed on exec unless that is changed.
    pub fn open() -> Result<(Self, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .context("cannot make a socket for declarations")?;
        Ok((Self(ours), theirs))
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes one declaration and answers it; false when no more can come.
    pub fn take(&self, log: &mut Log) -> Result<bool> {
        let mut bytes = [0; LONGEST];
        let count = recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..count]);
        let Ok(what) = text.parse::<Expectation>() else { return Ok(false) };
        log.mark(Event::Expect(what))?;
        // A case that does not wait for the answer is its own business.
        let _ = send(self.0.as_raw_fd(), b"!", MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        Ok(true)
    }
}
