//! A network of a scenario: a switch in our own process, which works wherever guests do. It asks the host for no
//! bridge, and every frame passes by us.

use std::collections::HashMap;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use uml_protocol::lab::{InterfaceAddresses, Shape};

use super::capture::Capture;
use super::wire::Wire;
use crate::stage::{HEADER, InterfaceEnd, LONGEST, poll_timeout};
use crate::threads;

/// A switch has looked up by then, however busy the host is.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest time that a frame may be on its way.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// So many frames of one guest are passed on before the others have their turn.
const BURST: usize = 64;

/// A hardware address.
type Mac = [u8; 6];

/// A network. Dropping it ends its switch.
#[derive(Debug)]
pub(super) struct Network {
    number: u8,
    switch: Arc<Switch>,
    wake: PipeWriter,
}

/// What a switch knows.
#[derive(Debug, Default)]
struct Switch {
    ports: Mutex<Vec<Port>>,
    capture: Mutex<Capture>,
    shape: Mutex<Shape>,
    changes: Mutex<Changes>,
    taken: Condvar,
}

/// How often something was changed, and how many of these changes the switch goes by.
#[derive(Debug, Default)]
struct Changes {
    made: u64,
    taken: u64,
}

/// Where a guest is plugged in.
#[derive(Debug)]
struct Port {
    guest: String,
    /// Nothing while the guest is off.
    end: Option<Arc<InterfaceEnd>>,
    plugged: bool,
}

impl Network {
    /// Starts the switch of the network with this number.
    ///
    /// # Errors
    /// When there can be no thread for it.
    pub fn start<'s>(scope: &'s Scope<'s, '_>, number: u8) -> Result<Self> {
        let (woken, wake) = std::io::pipe().context("cannot make a pipe")?;
        let switch = Arc::<Switch>::default();
        let shared = Arc::clone(&switch);
        threads::spawn_in(scope, move || shared.run(woken))?;
        Ok(Self { number, switch, wake })
    }

    /// The addresses of the guest with that number.
    pub fn addresses(&self, guest: u8) -> InterfaceAddresses {
        InterfaceAddresses::of(self.number, guest)
    }

    /// Takes the last frames that passed.
    pub fn take_capture(&self) -> Capture {
        std::mem::take(&mut self.switch.capture.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Connects a guest, or connects it anew.
    pub fn connect(&self, guest: &str, end: InterfaceEnd) {
        let mut ports = self.switch.ports();
        let end = Some(Arc::new(end));
        match ports.iter_mut().find(|port| port.guest == guest) {
            Some(port) => port.end = end,
            None => ports.push(Port { guest: guest.into(), end, plugged: true }),
        }
        drop(ports);
        self.wake();
    }

    /// Forgets the interface of a guest that is off: what it belongs to goes with the last who has it.
    pub fn disconnect(&self, guest: &str) {
        let mut ports = self.switch.ports();
        if let Some(port) = ports.iter_mut().find(|port| port.guest == guest) {
            port.end = None;
        }
        drop(ports);
        self.wake();
    }

    /// Has it do this to each frame from now on.
    ///
    /// # Errors
    /// When no frame could ever arrive.
    pub fn shape(&self, shape: Shape) -> Result<()> {
        let slow = [shape.delay, shape.jitter].iter().any(|time| *time > LONGEST_DELAY);
        ensure!(!slow, "a delay of more than {LONGEST_DELAY:?} is none of a network");
        *self.switch.shape.lock().unwrap_or_else(PoisonError::into_inner) = shape;
        self.wake();
        Ok(())
    }

    /// Plugs a guest's cable in or out.
    ///
    /// # Errors
    /// When there is no such guest.
    pub fn plug(&self, guest: &str, plugged: bool) -> Result<()> {
        let mut ports = self.switch.ports();
        let port = ports.iter_mut().find(|port| port.guest == guest);
        let port = port.with_context(|| format!("no guest `{guest}` is in this network"))?;
        if let (false, true, Some(end)) = (port.plugged, plugged, &port.end) {
            // What it sent into a loose end is lost.
            let mut frame = vec![0; LONGEST];
            while end.receive(&mut frame).is_ok() {}
        }
        port.plugged = plugged;
        drop(ports);
        self.wake();
        Ok(())
    }

    /// Has the switch go by what was changed, and waits until it does: no frame that comes later is treated as before.
    fn wake(&self) {
        let mut changes = self.switch.changes();
        changes.made += 1;
        let made = changes.made;
        // A switch that is over needs not be woken, and does not answer.
        if (&self.wake).write_all(&[0]).is_ok() {
            let late = |changes: &mut Changes| changes.taken < made;
            drop(self.switch.taken.wait_timeout_while(changes, PATIENCE, late));
        }
    }
}

impl Switch {
    fn ports(&self) -> MutexGuard<'_, Vec<Port>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The interfaces of the guests that are plugged in.
    fn plugged(&self) -> Vec<Arc<InterfaceEnd>> {
        let ports = self.ports();
        ports.iter().filter(|port| port.plugged).filter_map(|port| port.end.clone()).collect()
    }

    /// Passes frames on until the network is dropped.
    fn run(&self, mut woken: PipeReader) {
        let (mut frame, mut wire) = (vec![0; LONGEST], Wire::default());
        loop {
            // Who has which address is learnt anew when a cable was moved.
            let made = self.changes().made;
            let ends = self.plugged();
            self.changes().taken = made;
            self.taken.notify_all();
            let mut places: HashMap<Mac, usize> = HashMap::new();
            loop {
                let mut fds = vec![PollFd::new(woken.as_fd(), PollFlags::POLLIN)];
                fds.extend(ends.iter().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN)));
                let wait = wire.next().map_or(PollTimeout::NONE, poll_timeout);
                let _ = poll(&mut fds, wait);
                wire.arrived().for_each(|(to, frame)| give(&to, &frame));
                let has = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
                let ready: Vec<bool> = fds.iter().map(has).collect();
                if ready[0] {
                    match woken.read(&mut [0; 64]) {
                        Ok(count) if count > 0 => break,
                        _ => return,
                    }
                }
                for from in (0..ends.len()).filter(|from| ready[from + 1]) {
                    self.pass_on(&ends, from, &mut places, &mut wire, &mut frame);
                }
            }
        }
    }

    /// Passes on what a guest has sent.
    fn pass_on(
        &self,
        ends: &[Arc<InterfaceEnd>],
        from: usize,
        places: &mut HashMap<Mac, usize>,
        wire: &mut Wire,
        buffer: &mut [u8],
    ) {
        let shape = *self.shape.lock().unwrap_or_else(PoisonError::into_inner);
        let mut give = |to: &Arc<InterfaceEnd>, frame: &[u8]| {
            if let Some(frame) = wire.send(&shape, to, frame) {
                give(to, frame);
            }
        };
        for _ in 0..BURST {
            let count = match ends[from].receive(buffer) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                // Nothing more, or the guest is gone.
                Err(_) => return,
            };
            let frame = &buffer[..count];
            let Some(Ok(addresses)) = frame.get(HEADER..HEADER + 12).map(<[u8; 12]>::try_from)
            else {
                continue;
            };
            let [to @ .., _, _, _, _, _, _] = addresses;
            let [_, _, _, _, _, _, source @ ..] = addresses;
            self.capture.lock().unwrap_or_else(PoisonError::into_inner).take(&frame[HEADER..]);
            places.insert(source, from);
            // The lowest bit of the first byte says that it is for several.
            match places.get(&to).filter(|_| to[0] & 1 == 0) {
                Some(&place) if place == from => {}
                Some(&place) => give(&ends[place], frame),
                None => {
                    let others = ends.iter().enumerate().filter(|(place, _)| *place != from);
                    others.for_each(|(_, end)| give(end, frame));
                }
            }
        }
    }
}

/// Gives a guest a frame. One that takes none any more loses it, as on a wire.
fn give(end: &InterfaceEnd, frame: &[u8]) {
    let _ = end.send(frame);
}

#[cfg(test)]
mod tests;
