//! The driver: waits for events, asks the machine what they mean, and does what it says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::{Duration, Instant};

use anyhow::Result;
use socket2::Socket;
use uml_protocol::wire::{Hash, Run, ToGuest, ToHost, VERSION};

use super::calibration::Calibration;
use super::host::{GuestHost, HostProcess, OwnLink};
use super::limit::{KeptWaiting, Times};
use super::machine::{Action, End, GuestEvent, GuestState, Machine};
use super::package::{PackageFolder, TestProgram};
use super::peer::Peer;
use super::session::AgentSession;
use super::spec::GuestSpec;
use crate::cancel::CancelToken;
use crate::stage::Link;

mod answers;
mod events;
mod offer;

pub use answers::{CaseOptions, CaseRun, Gone, Sink};

/// The agent ends a case that takes too long; this much later we end the guest.
const MARGIN: Duration = Duration::from_secs(5);

/// The time an agent may take to take a message.
const MESSAGE_TIME: Duration = Duration::from_secs(30);

/// A guest that came up. Dropping it ends its processes.
#[derive(Debug)]
pub struct Guest<'a> {
    name: String,
    cancel: CancelToken,
    host: &'a dyn GuestHost,
    process: Box<dyn HostProcess + 'a>,
    /// It goes after the processes.
    link: OwnLink<'a>,
    machine: Machine,
    first: Vec<Action>,
    events: SyncSender<GuestEvent>,
    inbox: Receiver<GuestEvent>,
    times: Times,
    /// Once its time is over, how many events may have come before that and wait to be looked at.
    overdue: Option<usize>,
    session: Option<AgentSession>,
    /// True if all that came by the session was told.
    session_over: bool,
    /// The end of the guest's process, which waits for that.
    held: Option<GuestEvent>,
    peer: Option<Peer>,
    reply: Option<ToHost>,
    programs: BTreeSet<Hash>,
    cases: u32,
    powered_on: Instant,
    ready_after: Duration,
    pub(super) by_hand: String,
}

impl<'a> Guest<'a> {
    pub(super) fn new(
        spec: &GuestSpec<'_>,
        host: &'a dyn GuestHost,
        link: OwnLink<'a>,
        process: Box<dyn HostProcess + 'a>,
        (events, inbox): (SyncSender<GuestEvent>, Receiver<GuestEvent>),
        (machine, first): (Machine, Vec<Action>),
        powered_on: Instant,
    ) -> Self {
        Self {
            name: spec.name.into(),
            cancel: spec.cancel.clone(),
            host,
            process,
            link,
            machine,
            first,
            events,
            inbox,
            times: Times::new(powered_on),
            overdue: None,
            session: None,
            session_over: false,
            held: None,
            peer: None,
            reply: None,
            programs: BTreeSet::new(),
            cases: 0,
            powered_on,
            ready_after: Duration::ZERO,
            by_hand: String::new(),
        }
    }

    /// Has another token end what it is asked for from now on.
    pub fn set_cancel(&mut self, cancel: &CancelToken) {
        self.cancel = cancel.clone();
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The guest's link.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The time it took from power-on to the agent's greeting.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// By what its host knows its processes.
    pub fn process(&self) -> i32 {
        self.process.id()
    }

    /// The command that boots such a guest by hand.
    pub fn by_hand(&self) -> &str {
        &self.by_hand
    }

    /// How the guest ended, if it did.
    pub fn end(&self) -> Option<&End> {
        match self.machine.state() {
            GuestState::Over(end) => Some(end),
            _ => None,
        }
    }

    /// Waits until the guest is ready, or over.
    pub(super) fn come_up(&mut self, calibration: &mut Calibration) -> Result<Option<End>> {
        for action in std::mem::take(&mut self.first) {
            self.act(action);
        }
        loop {
            match self.machine.state() {
                GuestState::Ready => {
                    self.ready_after = self.powered_on.elapsed();
                    return Ok(None);
                }
                GuestState::Over(end) => return Ok(Some(end.clone())),
                _ => {}
            }
            let event = self.next()?;
            if let GuestEvent::Line(line) = &event {
                calibration.learn(line);
            }
            self.feed(event);
        }
    }

    /// Where it is counted how long we keep it waiting.
    pub fn kept_waiting(&self) -> Arc<KeptWaiting> {
        self.times.kept_waiting()
    }

    /// Has the peer give connections that begin with this token to whoever asks for a scenario.
    pub fn open_lab(&self, token: &str, connections: Sender<Socket>) {
        if let Some(peer) = &self.peer {
            peer.open_lab(&format!("{VERSION} {token}"), connections);
        }
    }

    /// Has it refuse them again.
    pub fn close_lab(&self) {
        if let Some(peer) = &self.peer {
            peer.close_lab();
        }
    }

    /// Serves network tests on this port of the host end of the link, until the guest is dropped.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn serve_peer(&mut self, port: u16) -> Result<()> {
        self.peer = Some(Peer::start(self.host.listen(self.link.host(), port)?)?);
        Ok(())
    }

    /// Runs one case to its end, or the guest's.
    ///
    /// # Errors
    /// When the user asks us to stop, or the program cannot be read.
    pub fn run_case(
        &mut self,
        TestProgram { program, package, called, links }: TestProgram<'_>,
        args: Vec<String>,
        mut env: Vec<(String, String)>,
        how: CaseOptions<'_>,
    ) -> Result<CaseRun> {
        let CaseOptions { timeout, word, lasts, leave, injections, sink } = how;
        self.cases += 1;
        let sequence = self.cases;
        self.offer(program)?;
        if let Some(package) = package {
            for file in package.needed() {
                self.offer(file)?;
            }
            env.extend(package.environment.iter().cloned());
        }
        self.times.begin_case(timeout);
        self.feed(GuestEvent::Run { sequence, limit: timeout + MARGIN });
        let package = package.map(PackageFolder::on_wire);
        let (injections, links) = (injections.to_vec(), links.to_vec());
        let run = Run {
            sequence,
            program: program.hash(),
            called: called.map(String::from),
            args,
            env,
            timeout,
            word,
            lasts,
            leave,
            package,
            links,
            injections,
        };
        self.say(&ToGuest::Run(run.into()));
        loop {
            if let Some(case) = self.machine.take_case_if_settled() {
                let died_before = !case.begin_seen && self.end().is_some();
                return Ok(if died_before { CaseRun::NotBegun } else { CaseRun::Ran(case) });
            }
            if self.end().is_some() {
                return Ok(CaseRun::NotBegun);
            }
            let event = self.next()?;
            if let (Some(Sink(tell)), GuestEvent::Message(ToHost::Output { stream, bytes })) =
                (sink, &event)
            {
                tell(*stream, bytes);
            }
            self.feed(event);
        }
    }

    /// The time the guest was ready to run and had no CPU, since the case began that ran last.
    pub fn withheld_from_case(&mut self) -> Duration {
        self.times.withheld_from_case(&mut *self.process)
    }

    /// Ends the guest at once, as a power cut does, and clears its place on the stage.
    ///
    /// # Errors
    /// When the user asks us to stop.
    pub fn cut_power(self) -> Result<Gone> {
        self.process.kill();
        self.wait_until_gone()
    }

    /// Asks the guest to switch itself off, waits until it is gone, and clears its place on the
    /// stage.
    ///
    /// # Errors
    /// When the user asks us to stop.
    pub fn shutdown(mut self) -> Result<Gone> {
        self.feed(GuestEvent::PowerOff);
        self.say(&ToGuest::PowerOff { search: self.machine.is_memory_in_order() });
        self.wait_until_gone()
    }

    fn wait_until_gone(mut self) -> Result<Gone> {
        let end = loop {
            if let Some(end) = self.end() {
                break end.clone();
            }
            self.pump()?;
        };
        let (strays, leaks) = (self.machine.take_strays(), self.machine.take_leaks());
        drop(self.process);
        self.link.remove()?;
        Ok(Gone { end, strays, leaks })
    }

    fn say(&mut self, message: &ToGuest) {
        self.say_until(message, Instant::now() + MESSAGE_TIME);
    }

    fn say_until(&mut self, message: &ToGuest, until: Instant) {
        let Some(session) = &mut self.session else { return };
        if let Err(error) = session.say(message, until) {
            self.feed(GuestEvent::Disconnected(error.to_string()));
        }
    }

    fn pump(&mut self) -> Result<()> {
        let event = self.next()?;
        self.feed(event);
        Ok(())
    }
}
