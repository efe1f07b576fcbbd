//! The scenario of a case: the guests and networks that it asks for beside its own guest
//! ([`uml_protocol::lab`]). All of it ends with the case.
//!
//! Each connection of the case has a thread here, and so has each network. A guest's connection is its driver: what
//! happens in one guest does not keep another.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, poll};
use socket2::Socket;
use uml_protocol::lab::{InterfaceAddresses, Reply, Request};
use uml_protocol::wire::{receive, send};

use crate::cancel::CancelToken;
use crate::guest::{KeptWaiting, TestProgram};
use crate::threads;

mod answers;
mod capture;
mod guest;
mod maker;
mod network;
mod record;
mod requests;
mod turns;
mod wire;

pub use capture::Capture;
use guest::LabGuest;
pub use maker::{GuestMaker, GuestOrder, KernelIp, MadeGuest};
use network::Network;
pub use record::{LabGuestRecord, LabRecord};
use turns::Turn;
pub use turns::Turns;

/// How often a guest is looked at that nothing is asked of, and whether what is waited for is still wanted.
pub const ATTENTION: Duration = Duration::from_millis(20);

/// A guest whose power was cut is gone by then, however busy the host is.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the case's own guest is called in its networks, and its number there.
const OWN_NAME: &str = "case";
const OWN: u8 = 254;

/// In so many networks the case's own guest may be.
const MOST_JOINED: usize = 8;

/// So many networks a case may have.
const MOST_NETWORKS: usize = 64;

/// So many disks a case may have, beside those of its guests' roots.
const MOST_DISKS: usize = 64;

/// So many guests a case may have beside its own.
const MOST_GUESTS: usize = 64;

/// So many connections a case may have: each of its guests and networks has one.
const MOST_CONNECTIONS: usize = 200;

/// The scenario of a case.
pub struct Lab<'a, 'r> {
    maker: &'r dyn GuestMaker<'a>,
    turns: &'r Turns,
    /// The case's own program, which does in other guests what it asks for.
    program: TestProgram<'r>,
    /// What is of this case alone is called so.
    token: &'r str,
    /// The time one thing may take that a guest is asked to do.
    timeout: Duration,
    /// The time the case waits for its turn: that is not time of its own.
    kept_waiting: Arc<KeptWaiting>,
    began: Instant,
    state: Mutex<LabState<'r>>,
    over: CancelToken,
    /// The case's.
    outer: &'r CancelToken,
    /// A guest went off.
    off: Condvar,
}

/// What all threads of a scenario share.
#[derive(Default)]
struct LabState<'r> {
    turn: Option<Turn<'r>>,
    is_over: bool,
    networks: BTreeMap<String, Network>,
    /// What disks are called by the case; what they are called on the stage, and where guests see them.
    disks: BTreeMap<String, (String, PathBuf)>,
    /// The addresses of guests by their names, the first of each guest first.
    hosts: Vec<(InterfaceAddresses, String)>,
    /// In how many networks the case's own guest is.
    joined: usize,
    /// The names of its guests.
    names: Vec<String>,
    /// The processes of those that are on, and whether their power was cut.
    on: BTreeMap<String, (i32, bool)>,
    /// Shut down, their threads end.
    streams: BTreeMap<usize, Socket>,
    records: Vec<LabGuestRecord>,
    captures: Vec<(String, Capture)>,
}

impl LabState<'_> {
    fn network(&self, name: &str) -> Result<&Network> {
        self.networks.get(name).with_context(|| format!("there is no network `{name}`"))
    }
}

impl<'a, 'r> Lab<'a, 'r> {
    /// An empty one.
    pub fn new(
        maker: &'r dyn GuestMaker<'a>,
        turns: &'r Turns,
        program: TestProgram<'r>,
        token: &'r str,
        timeout: Duration,
        kept_waiting: Arc<KeptWaiting>,
        outer: &'r CancelToken,
    ) -> Self {
        let (state, over, off) = (Mutex::default(), CancelToken::default(), Condvar::new());
        let began = Instant::now();
        Self { maker, turns, program, token, timeout, kept_waiting, began, state, over, outer, off }
    }

    /// Serves the case's connections until there are no more.
    ///
    /// # Errors
    /// When there can be no thread for one.
    pub fn serve<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        connections: &Receiver<Socket>,
    ) -> Result<()> {
        for (number, stream) in connections.iter().enumerate() {
            let twin = stream.try_clone().context("cannot share a connection")?;
            {
                let mut state = self.state();
                if state.is_over || state.streams.len() == MOST_CONNECTIONS {
                    // It is closed: it came too late, or there are too many of them.
                    continue;
                }
                state.streams.insert(number, twin);
            }
            threads::spawn_in(scope, move || {
                self.connection(scope, stream);
                self.state().streams.remove(&number);
            })?;
        }
        Ok(())
    }

    /// Ends all of it: the threads of [`Lab::serve`] are over soon.
    pub fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        self.off.notify_all();
        self.over.cancel();
        // Their threads end with them.
        let networks = std::mem::take(&mut state.networks);
        let captured = networks.into_iter().map(|(name, network)| (name, network.take_capture()));
        state.captures.extend(captured);
        for stream in state.streams.values() {
            // A connection that is broken already needs no end.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// What became of it, once its threads are over.
    pub fn take_record(&self) -> LabRecord {
        let mut state = self.state();
        for (name, _) in std::mem::take(&mut state.disks).into_values() {
            // One that cannot be removed goes with the stage.
            let _ = self.maker.remove_disk(&name);
        }
        LabRecord {
            guests: std::mem::take(&mut state.records),
            networks: std::mem::take(&mut state.captures),
        }
    }

    fn state(&self) -> MutexGuard<'_, LabState<'r>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one connection, and ends its guest after that.
    fn connection<'s>(&'s self, scope: &'s Scope<'s, '_>, mut stream: Socket) {
        let mut guest: Option<LabGuest<'a, 's, 'r>> = None;
        while let Some(request) = self.next(&mut stream, guest.as_mut()) {
            let reply = self.answer(scope, request, &mut guest);
            let reply = reply.unwrap_or_else(|error| Reply::Failed(format!("{error:#}")));
            if send(&mut stream, &reply).is_err() {
                break;
            }
        }
        if let Some(guest) = guest {
            let record = guest.end();
            self.state().records.push(record);
        }
    }

    /// The next request; nothing when the connection is over.
    fn next(
        &self,
        stream: &mut Socket,
        mut guest: Option<&mut LabGuest<'_, '_, '_>>,
    ) -> Option<Request> {
        loop {
            if let Some(guest) = &mut guest {
                guest.attend();
            }
            let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, u8::try_from(ATTENTION.as_millis()).unwrap_or(u8::MAX)) {
                Ok(0) | Err(_) => {}
                Ok(_) => return receive(stream).ok().flatten(),
            }
        }
    }

    /// The case has waited for another [`ATTENTION`]: that is no time of its own. False when it is over.
    fn waits(&self) -> bool {
        self.kept_waiting.add(ATTENTION);
        !self.state().is_over
    }

    /// Has the case be one of those that have guests beside their own.
    fn take_turn(&self) -> Result<()> {
        if self.state().turn.is_some() {
            return Ok(());
        }
        let turn = self.turns.wait(ATTENTION, || self.waits()).context("the case is over")?;
        // Another of its connections may have been first.
        self.state().turn.get_or_insert(turn);
        Ok(())
    }
}
