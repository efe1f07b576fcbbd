//! The host's end of a guest's network interface: frames come from it, and go there.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, recv, send};

use super::door::{Connected, Door};

/// The `virtio_net_hdr` before each frame (packet(7), PACKET_VNET_HDR): it says what the sender left to a network card
/// to do. Where a guest has no such card, it is all zeroes.
pub const HEADER: usize = 10;

/// The longest frame with its header: what a sender left to a network card to cut.
pub const LONGEST: usize = HEADER + 14 + 4 + (64 << 10);

/// The host's end of an interface. Nothing here waits: who uses it polls its descriptor.
#[derive(Debug)]
pub struct InterfaceEnd(Kind);

#[derive(Debug)]
enum Kind {
    /// A packet socket on its tap.
    Packets(OwnedFd),
    /// Sockets that the guest connects to.
    Door(Watched),
}

/// A door and who came by it, watched together.
#[derive(Debug)]
struct Watched {
    door: Door,
    connected: Mutex<Option<Connected>>,
    watch: Epoll,
}

impl InterfaceEnd {
    /// That of an interface with a tap, on which this packet socket is.
    pub(super) fn of_tap(packets: OwnedFd) -> Self {
        Self(Kind::Packets(packets))
    }

    /// That of an interface that connects to sockets.
    ///
    /// # Errors
    /// When they cannot be watched.
    pub(super) fn of_door(door: Door) -> Result<Self> {
        let watch = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("cannot watch sockets")?;
        watch
            .add(door.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))
            .context("cannot watch a socket")?;
        Ok(Self(Kind::Door(Watched { door, connected: Mutex::default(), watch })))
    }

    /// One that nothing comes from, and nothing goes to.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        Self(Kind::Packets(std::fs::File::open("/dev/null").unwrap().into()))
    }

    /// One that has frames, with their headers, from the other end of this pair.
    #[cfg(test)]
    pub(crate) fn of_pair(ours: OwnedFd) -> Self {
        Self(Kind::Packets(ours))
    }

    /// The next frame, with its header; its length.
    ///
    /// # Errors
    /// [`Errno::EAGAIN`] when there is none now; others when there will be none.
    pub fn receive(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        match &self.0 {
            Kind::Packets(socket) => recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT),
            Kind::Door(watched) => watched.receive(buffer),
        }
    }

    /// Gives the guest a frame, which has its header before it.
    ///
    /// # Errors
    /// [`Errno::EAGAIN`] when it takes none now; others when it takes none at all.
    pub fn send(&self, frame: &[u8]) -> nix::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            let sent = match &self.0 {
                Kind::Packets(socket) => send(socket.as_raw_fd(), frame, flags),
                Kind::Door(watched) => match &*watched.connected() {
                    Some(guest) => send(guest.frames.as_raw_fd(), &frame[HEADER..], flags),
                    None => Err(Errno::ENOTCONN),
                },
            };
            if sent != Err(Errno::EINTR) {
                return sent.map(drop);
            }
        }
    }

    /// Has the descriptor be ready when the guest takes frames again, and not when some came; or again as before.
    pub fn watch_room(&self, watch: bool) {
        let Kind::Door(watched) = &self.0 else { return };
        if let Some(guest) = &*watched.connected() {
            let flags = if watch { EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            let mut event = EpollEvent::new(flags, 0);
            // What cannot be watched is gone, which is seen by the next frame.
            let _ = watched.watch.modify(&guest.frames, &mut event);
        }
    }
}

/// The time to wait for what comes so soon, in whole milliseconds.
pub(crate) fn poll_timeout(time: Duration) -> PollTimeout {
    let millis = time.as_micros().div_ceil(1000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

impl AsFd for InterfaceEnd {
    /// Readable when there is something to receive.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Packets(socket) => socket.as_fd(),
            Kind::Door(watched) => watched.watch.0.as_fd(),
        }
    }
}

impl Watched {
    fn connected(&self) -> MutexGuard<'_, Option<Connected>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        let mut connected = self.connected();
        loop {
            if let Some(guest) = &*connected {
                let frame = &mut buffer[HEADER..];
                match recv(guest.frames.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT) {
                    Err(Errno::EINTR) => continue,
                    Err(Errno::EAGAIN) => {}
                    Ok(count) if count > 0 => {
                        buffer[..HEADER].fill(0);
                        return Ok(HEADER + count);
                    }
                    // The interface was brought down.
                    _ => *connected = None,
                }
            }
            // Who is no guest's driver is let go.
            match self.door.accept() {
                Ok(Some(guest)) => {
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, 0);
                    self.watch.add(&guest.frames, event).or_else(|errno| match errno {
                        // The socket of the old driver stays the same.
                        Errno::EEXIST => Ok(()),
                        other => Err(other),
                    })?;
                    *connected = Some(guest);
                }
                Ok(None) | Err(_) => return Err(Errno::EAGAIN),
            }
        }
    }
}
