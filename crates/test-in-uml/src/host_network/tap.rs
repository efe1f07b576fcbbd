//! A tap that was prepared for us.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::libc;

use crate::confine::TUN;
use crate::stage::HEADER;

nix::ioctl_write_ptr_bad!(
    /// Attaches a descriptor to an interface (Documentation/networking/tuntap.rst).
    attach,
    libc::TUNSETIFF,
    libc::ifreq
);

/// A tap, as the wire between whoever is plugged in there and the host. Its frames have a header of [`HEADER`] bytes.
#[derive(Debug)]
pub struct Tap(File);

impl Tap {
    /// Takes the tap of that name; nothing if somebody has it.
    ///
    /// # Errors
    /// When there is none, or it is not for us.
    pub(super) fn open(name: &str) -> Result<Option<Self>> {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let device = options.open(TUN).with_context(|| format!("cannot open {TUN}"))?;
        // SAFETY: all zeroes are a valid request.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        ensure!(name.len() < request.ifr_name.len(), "{name} is no interface");
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        // Without IFF_TUN_EXCL one that is not there would be made, by whoever may.
        ensure!(super::ip::exists(name), "there is no interface {name} any more");
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        request.ifr_ifru.ifru_flags = i16::try_from(flags).context("flags are too large")?;
        // SAFETY: the request is a whole one, and outlives the call.
        match unsafe { attach(device.as_raw_fd(), &raw const request) } {
            Ok(_) => Ok(Some(Self(device))),
            Err(Errno::EBUSY) => Ok(None),
            Err(errno) => Err(errno).with_context(|| format!("cannot open the tap {name}")),
        }
    }

    /// The next frame; its length. Nothing waits.
    ///
    /// # Errors
    /// [`Errno::EAGAIN`] when there is none now; others when there will be none.
    pub fn receive(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        debug_assert!(buffer.len() > HEADER);
        nix::unistd::read(&self.0, buffer)
    }

    /// Sends a frame, which is lost where there is no room for it.
    pub fn send(&self, frame: &[u8]) {
        let _ = nix::unistd::write(&self.0, frame);
    }
}

impl AsFd for Tap {
    /// Readable when there is something to receive.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
