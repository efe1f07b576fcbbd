//! The frames of a link, as smoltcp takes them.

use std::os::fd::{AsFd as _, BorrowedFd};

use nix::errno::Errno;
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::stage::interface_end::{HEADER, InterfaceEnd, LONGEST};

/// What comes before the packet in a frame.
const ETHERNET: usize = 14;

/// What comes from a link, and goes there.
#[derive(Debug)]
pub(super) struct Frames {
    end: InterfaceEnd,
    /// The longest packet that the guest takes.
    mtu: usize,
    buffer: Vec<u8>,
    /// One that the guest does not take yet. Nothing is sent until it does, so that nothing is lost.
    waiting: Option<Vec<u8>>,
    /// True if our descriptor is ready when it does.
    watched: bool,
}

impl Frames {
    pub fn new(end: InterfaceEnd, mtu: usize) -> Self {
        Self { end, mtu, buffer: vec![0; LONGEST], waiting: None, watched: false }
    }

    /// Readable when there is something to do.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// Has our descriptor be ready when the guest takes the frame that waits, if one does.
    pub fn watch_room(&mut self) {
        if self.watched != self.waiting.is_some() {
            self.watched = self.waiting.is_some();
            self.end.watch_room(self.watched);
        }
    }

    /// Returns true if there is room for one more frame.
    fn has_room(&mut self) -> bool {
        if let Some(frame) = self.waiting.take() {
            self.send(frame);
        }
        self.waiting.is_none()
    }

    fn send(&mut self, frame: Vec<u8>) {
        // An interface that is down loses it.
        if self.end.send(&frame) == Err(Errno::EAGAIN) {
            self.waiting = Some(frame);
        }
    }
}

impl Device for Frames {
    type RxToken<'a> = Received;
    type TxToken<'a> = ToSend<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, ToSend<'_>)> {
        if !self.has_room() {
            return None;
        }
        let count = self.end.receive(&mut self.buffer).ok()?;
        let frame = self.buffer.get(HEADER..count)?.to_vec();
        Some((Received(frame), ToSend(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<ToSend<'_>> {
        self.has_room().then_some(ToSend(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = ETHERNET + self.mtu;
        // What comes here has been through memory only.
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities
    }
}

/// A frame that came.
pub(super) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

/// Room for a frame that goes.
pub(super) struct ToSend<'a>(&'a mut Frames);

impl TxToken for ToSend<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; HEADER + length];
        let result = f(&mut frame[HEADER..]);
        self.0.send(frame);
        result
    }
}
