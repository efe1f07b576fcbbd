//! The driver: waits for events, asks the machine what they mean, and does what it says.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use uml_protocol::wire::{CHUNK, Hash, Leaks, Run, ToGuest, ToHost, Word};

use super::calibration::Calibration;
use super::complaint::Complaint;
use super::limit::Times;
use super::machine::{Action, CaseRecord, End, GuestEvent, GuestState, Machine};
use super::peer::Peer;
use super::program::Program;
use super::session::{AgentSession, connect};
use super::spec::{EVENTS, GuestSpec};
use crate::cancel;
use crate::stage::{GuestProcess, Link, Stage};

/// How often a silent guest lets us look whether the user asked us to stop.
const CANCEL_PERIOD: Duration = Duration::from_millis(100);

/// The agent ends a case that takes too long; this much later we end the guest.
const MARGIN: Duration = Duration::from_secs(5);

/// How long an agent may take to take a message.
const MESSAGE_TIME: Duration = Duration::from_secs(30);

/// How long it may take to take a program.
const FILE_TIME: Duration = Duration::from_secs(300);

/// What a guest that hangs is asked for: the registers of what runs, and where each task is
/// (sysrq.rst).
const TRACES: [&str; 2] = ["sysrq p", "sysrq t"];

/// A guest that came up. Dropping it ends its processes.
#[derive(Debug)]
pub struct Guest<'a> {
    name: String,
    stage: &'a Stage,
    link: Link,
    process: GuestProcess<'a>,
    machine: Machine,
    first: Vec<Action>,
    events: SyncSender<GuestEvent>,
    inbox: Receiver<GuestEvent>,
    times: Times,
    /// Once its time is over, how many events may have come before that and wait to be looked at.
    overdue: Option<usize>,
    session: Option<AgentSession>,
    /// Whether all that came by the session was told.
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

/// What became of a case that a guest was asked to run.
#[derive(Debug)]
pub enum CaseRun {
    /// It ran, to its end or to that of its guest.
    Ran(Box<CaseRecord>),
    /// The guest ended before the agent began it.
    NotBegun,
}

/// What became of a guest that was switched off.
#[derive(Debug)]
pub struct Gone {
    /// How it ended.
    pub end: End,
    /// What its kernel complained of while no case ran.
    pub strays: Vec<Complaint>,
    /// What its cases lost of the kernel's memory and did not say; they are numbered from 1.
    pub leaks: Leaks,
}

impl<'a> Guest<'a> {
    pub(super) fn new(
        spec: &GuestSpec<'_>,
        stage: &'a Stage,
        link: Link,
        process: GuestProcess<'a>,
        (events, inbox): (SyncSender<GuestEvent>, Receiver<GuestEvent>),
        (machine, first): (Machine, Vec<Action>),
        powered_on: Instant,
    ) -> Self {
        Self {
            name: spec.name.into(),
            stage,
            link,
            process,
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

    /// The guest's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The guest's link.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// How long it took from power-on to the agent's greeting.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
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

    /// Serves network tests on this port of the host end of the link, until the guest is dropped.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn serve_peer(&mut self, port: u16) -> Result<()> {
        self.peer = Some(Peer::start(self.stage.listen(self.link.host(), port)?)?);
        Ok(())
    }

    /// Runs one case to its end, or the guest's.
    ///
    /// # Errors
    /// When the user asks us to stop, or the program cannot be read.
    pub fn run_case(
        &mut self,
        program: &Program,
        args: Vec<String>,
        env: Vec<(String, String)>,
        (timeout, word): (Duration, Word),
    ) -> Result<CaseRun> {
        self.cases += 1;
        let sequence = self.cases;
        self.offer(program)?;
        self.times.begin_case(timeout);
        self.feed(GuestEvent::Run { sequence, limit: timeout + MARGIN });
        let run = Run { sequence, program: program.hash(), args, env, timeout, word };
        self.say(&ToGuest::Run(run));
        loop {
            if let Some(case) = self.machine.take_case_if_settled() {
                let died_before = !case.begin_seen && self.end().is_some();
                return Ok(if died_before { CaseRun::NotBegun } else { CaseRun::Ran(case) });
            }
            if self.end().is_some() {
                return Ok(CaseRun::NotBegun);
            }
            self.pump()?;
        }
    }

    /// How long the guest was ready to run and had no CPU, since the case began that ran last.
    pub fn withheld_from_case(&mut self) -> Duration {
        self.times.withheld_from_case(&self.process)
    }

    /// Sends a program or another file, unless the guest has it.
    ///
    /// # Errors
    /// When the user asks us to stop, or the file cannot be read.
    pub fn offer(&mut self, program: &Program) -> Result<()> {
        let hash = program.hash();
        if self.programs.contains(&hash) {
            return Ok(());
        }
        let until = Instant::now() + FILE_TIME;
        self.say(&ToGuest::Offer { hash, size: program.size()? });
        if self.reply()? == Some(ToHost::Need) {
            let mut chunk = vec![0; CHUNK];
            let mut sent = 0;
            loop {
                let count = program.read_at(&mut chunk, sent)?;
                if count == 0 {
                    break;
                }
                self.say_until(&ToGuest::Chunk(chunk[..count].to_vec()), until);
                sent += count as u64;
            }
            self.reply()?;
        }
        self.programs.insert(hash);
        Ok(())
    }

    /// The agent's answer to an offer; nothing if the guest ended.
    fn reply(&mut self) -> Result<Option<ToHost>> {
        self.grant(Some(Duration::from_secs(60)));
        loop {
            if let Some(reply) = self.reply.take() {
                self.grant(None);
                return Ok(Some(reply));
            }
            if self.end().is_some() {
                return Ok(None);
            }
            match self.next()? {
                GuestEvent::Message(reply @ (ToHost::Have | ToHost::Need | ToHost::Stored)) => {
                    self.reply = Some(reply);
                }
                GuestEvent::Deadline => {
                    self.feed(GuestEvent::Disconnected("no answer to a program".into()));
                }
                event => self.feed(event),
            }
        }
    }

    /// Asks the guest to switch itself off, waits until it is gone, and clears its place on the
    /// stage.
    ///
    /// # Errors
    /// When the user asks us to stop.
    pub fn shutdown(mut self) -> Result<Gone> {
        self.feed(GuestEvent::PowerOff);
        self.say(&ToGuest::PowerOff { search: self.machine.is_memory_in_order() });
        let end = loop {
            if let Some(end) = self.end() {
                break end.clone();
            }
            self.pump()?;
        };
        self.process.kill();
        self.stage.remove_link(&self.link)?;
        let (strays, leaks) = (self.machine.take_strays(), self.machine.take_leaks());
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

    /// The next event; fails when the user asks us to stop.
    fn next(&mut self) -> Result<GuestEvent> {
        loop {
            cancel::check()?;
            if self.overdue == Some(0) {
                self.overdue = None;
                return Ok(GuestEvent::Deadline);
            }
            if self.session_over
                && let Some(held) = self.held.take()
            {
                return Ok(held);
            }
            let patience = self.patience();
            match self.inbox.recv_timeout(patience) {
                Ok(event @ GuestEvent::Exited(_)) => match &self.session {
                    // What the guest has told and we have not read comes first.
                    Some(session) if !self.session_over => {
                        session.hang_up();
                        self.held = Some(event);
                    }
                    _ => return Ok(event),
                },
                Ok(event) => {
                    self.session_over |= matches!(event, GuestEvent::Disconnected(_));
                    return Ok(event);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.overdue.take().is_some() {
                        return Ok(GuestEvent::Deadline);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the watchers of a guest are gone"),
            }
        }
    }

    /// How long to wait for an event. What has arrived when time is over is not late, however late we look;
    /// but a guest that never stops to talk cannot put off its end.
    fn patience(&mut self) -> Duration {
        if let Some(waiting) = &mut self.overdue {
            *waiting -= 1;
            return Duration::ZERO;
        }
        let left = self.times.left(&self.process);
        if left == Some(Duration::ZERO) {
            self.overdue = Some(EVENTS);
        }
        left.unwrap_or(CANCEL_PERIOD).min(CANCEL_PERIOD)
    }

    /// Grants the guest so much time from now on, or as much as it wants.
    fn grant(&mut self, time: Option<Duration>) {
        self.overdue = None;
        match time {
            Some(time) => self.times.grant(time),
            None => self.times.grant_all(),
        }
    }

    fn feed(&mut self, event: GuestEvent) {
        if let GuestEvent::Message(ToHost::TimeIsOver) = event {
            let more = self.times.more_for_case(&self.process);
            return self.say(&ToGuest::MoreTime(more));
        }
        for action in self.machine.step(event) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Grant(time) => self.grant(Some(time)),
            Action::Kill => self.process.kill(),
            // A guest that has no management console, or does not serve it, has no traces.
            Action::Trace => {
                for command in TRACES {
                    let _ = self.stage.mconsole(&self.link, command);
                }
            }
            Action::Connect(port) => {
                let key = self.machine.key();
                match connect(self.stage, &self.link, port, key, &self.events) {
                    Ok(session) => self.session = Some(session),
                    Err(error) => self.feed(GuestEvent::Disconnected(format!("{error:#}"))),
                }
            }
        }
    }
}
