//! What an event means for a guest. Pure: every rule of a verdict is tested without a guest.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use uml_protocol::marker::{self, Event as Mark, Expectation, Found, Key};
use uml_protocol::wire::{Exit, Leaks, Log, ToHost};

use super::complaint::{self, Complaint, Reports};
use super::kernel_line::{LogLine, Origin};

mod cause;
mod end;
mod log;
mod lost_memory;
mod record;
#[cfg(test)]
mod tests;

pub use cause::out_of_memory;
pub use end::End;
use log::{Piece, TwoWays};
use lost_memory::LostMemory;
pub use record::{CaseRecord, Expectations};

/// Something that happened to a guest.
#[derive(Debug)]
pub enum GuestEvent {
    /// The console said this.
    Line(String),
    /// The console ended: no process of the guest is left.
    ConsoleClosed,
    /// The agent greeted us.
    Connected,
    /// The agent sent a message.
    Message(ToHost),
    /// The connection broke.
    Disconnected(String),
    /// The guest's process ended; nothing if its keeper was killed.
    Exited(Option<ExitStatus>),
    /// The time that was granted last is over.
    Deadline,
    /// We ask for a case.
    Run {
        /// Its sequence number.
        sequence: u32,
        /// How long it may take, by our clock.
        limit: Duration,
    },
    /// We ask for the end.
    PowerOff,
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to the agent's port.
    Connect(u16),
    /// Grant this long until the next [`GuestEvent::Deadline`].
    Grant(Duration),
    /// Ask the guest's kernel where its tasks are: its agent does not answer any more.
    Trace,
    /// End the guest's processes.
    Kill,
}

/// How long the steps of a guest's life may take.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// From power-on to the agent's ready marker.
    pub boot: Duration,
    /// From there to the agent's greeting.
    pub connect: Duration,
    /// From our request to the end of the process.
    pub power_off: Duration,
    /// From a sign of the end to the end, for status and console to arrive.
    pub grace: Duration,
    /// For the traces of a guest that hangs.
    pub traces: Duration,
    /// For the search for leaks before a guest switches itself off.
    pub search: Duration,
    /// From a case's end marker on the console to the agent's word that the case is over.
    pub marker: Duration,
}

/// Where a guest is in its life.
#[derive(Debug)]
pub enum GuestState {
    /// Powered on.
    Booting,
    /// The agent listens; we connect.
    Connecting,
    /// Nothing runs.
    Ready,
    /// A case runs.
    Running(Box<CaseRecord>),
    /// We asked for the end.
    ShuttingDown,
    /// There was a sign of the end; status and console may still arrive.
    Ending(End),
    /// It is over.
    Over(End),
}

/// So many of its kernel's lines may say why a guest went.
const LAST_LINES: usize = 20;

/// A guest's life so far.
#[derive(Debug)]
pub struct Machine {
    nonce: String,
    key: Key,
    limits: TimeLimits,
    state: GuestState,
    /// The case that is over, or that ran when the guest ended.
    finished: Option<Box<CaseRecord>>,
    panic: Option<String>,
    /// What explains the end of a lost guest better than how its process went.
    cause: Option<String>,
    status: Option<Option<ExitStatus>>,
    console_closed: bool,
    farewell: bool,
    /// Whether we asked it to switch itself off.
    asked_to_go: bool,
    /// What a guest did not do, whose kernel was asked for traces since.
    hung: Option<&'static str>,
    log: TwoWays,
    /// The last lines of its kernel.
    last_lines: VecDeque<String>,
    /// What its kernel complains of at each boot.
    known: Vec<Expectation>,
    /// What the kernel complained of while no case ran.
    strays: Reports,
    /// How much of the log was lost then.
    lost: u64,
    memory: LostMemory,
}

impl Machine {
    /// A guest that was powered on just now, and that will be given this key.
    pub fn new(nonce: &str, key: Key, limits: TimeLimits) -> (Self, Vec<Action>) {
        let machine = Self {
            nonce: nonce.into(),
            key,
            limits,
            state: GuestState::Booting,
            finished: None,
            panic: None,
            cause: None,
            status: None,
            console_closed: false,
            farewell: false,
            asked_to_go: false,
            hung: None,
            log: TwoWays::default(),
            last_lines: VecDeque::new(),
            known: Vec::new(),
            strays: Reports::default(),
            lost: 0,
            memory: LostMemory::default(),
        };
        (machine, vec![Action::Grant(limits.boot)])
    }

    /// What its kernel complains of at each boot is nothing new: a text of any line of each.
    pub fn expect_at_boot(&mut self, texts: &[String]) {
        self.known = texts.iter().cloned().map(Expectation::Message).collect();
    }

    /// Where the guest is.
    pub fn state(&self) -> &GuestState {
        &self.state
    }

    /// What the guest's agent is to seal its markers with.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Takes the record of the case that is over. If the guest is ending, the record is whole only
    /// when it has ended: what the kernel says last belongs to it.
    pub fn take_case_if_settled(&mut self) -> Option<Box<CaseRecord>> {
        match self.state {
            GuestState::Ending(_) => None,
            _ => self.finished.take(),
        }
    }

    /// Takes what the kernel complained of while no case ran.
    pub fn take_strays(&mut self) -> Vec<Complaint> {
        let mut strays = std::mem::take(&mut self.strays);
        strays.finish();
        let mut all = strays.undeclared().to_vec();
        all.retain(|stray| !self.memory.has(stray));
        if self.lost > 0 {
            all.push(Complaint { name: "lost-log", line: lost_lines(self.lost) });
        }
        all
    }

    /// Whether memory that is lost by now is a fault of its own, and not of what the kernel complained of.
    pub fn is_memory_in_order(&self) -> bool {
        self.memory.is_in_order()
    }

    /// What cases lost of the kernel's memory, but for those of which it was known when they ran.
    pub fn take_leaks(&mut self) -> Leaks {
        self.memory.take(&self.known)
    }

    /// What `event` means.
    pub fn step(&mut self, event: GuestEvent) -> Vec<Action> {
        match event {
            GuestEvent::Line(line) => self.line(&line),
            GuestEvent::Connected => self.connected(),
            GuestEvent::Message(message) => self.message(message),
            GuestEvent::Run { sequence, limit } => self.run(sequence, limit),
            GuestEvent::PowerOff => self.power_off(),
            GuestEvent::Disconnected(why) => {
                self.end_observed(End::Lost(format!("the connection broke: {why}")))
            }
            GuestEvent::Deadline => self.deadline(),
            GuestEvent::Exited(status) => {
                self.status = Some(status);
                let how = self.how_it_went();
                self.end_observed(End::Lost(how))
            }
            GuestEvent::ConsoleClosed => {
                self.console_closed = true;
                self.end_observed(End::Lost("the console ended".into()))
            }
        }
    }

    /// A line of the console: the agent's first words, the kernel's last, and whatever a program writes.
    fn line(&mut self, line: &str) -> Vec<Action> {
        match marker::find(line, &self.nonce, &self.key) {
            Some(Found::Open(Mark::Ready(port))) => return self.ready(port),
            Some(Found::Open(Mark::Fatal(why))) if self.is_booting() => return self.fatal(&why),
            Some(Found::Sealed(Mark::Farewell)) => self.farewell = true,
            Some(Found::Sealed(Mark::Fatal(why))) => return self.fatal(&why),
            Some(Found::Sealed(Mark::End(sequence))) => {
                if let GuestState::Running(case) = &mut self.state
                    && case.sequence == sequence
                    && !std::mem::replace(&mut case.over_by_console, true)
                {
                    // The agent's word is on its way, and does not take the time of a case.
                    self.log.console_line(line);
                    return vec![Action::Grant(self.limits.marker)];
                }
            }
            _ => {}
        }
        if self.is_booting() || matches!(self.state, GuestState::Ending(End::BootFailed(_))) {
            let text = LogLine::of_boot(line).text;
            if complaint::is_fatal(&text) {
                self.panic.get_or_insert_with(|| text.clone());
                return self.end_observed(End::Panicked(text));
            }
        } else {
            self.log.console_line(line);
        }
        Vec::new()
    }

    fn is_booting(&self) -> bool {
        matches!(self.state, GuestState::Booting | GuestState::Connecting)
    }

    /// The agent listens. It says so before it has a key, so that anybody can.
    fn ready(&mut self, port: u16) -> Vec<Action> {
        match self.state {
            GuestState::Booting => {
                self.state = GuestState::Connecting;
                vec![Action::Connect(port), Action::Grant(self.limits.connect)]
            }
            GuestState::Over(_) => Vec::new(),
            _ => {
                let mut actions = self.lost_by("it began to boot again".into());
                actions.push(Action::Kill);
                actions
            }
        }
    }

    /// What the kernel said before its agent could.
    fn take_boot(&mut self, piece: &Piece) {
        self.lost += piece.lost;
        for line in piece.lines.iter().filter(|line| line.origin != Origin::Program) {
            self.strays.take(&line.text, &self.known);
        }
        self.strays.finish();
    }

    /// A piece of the kernel's log.
    fn take_log(&mut self, piece: &Piece) {
        if piece.lost > 0 {
            match self.current_case() {
                Some(case) if case.is_open() => case.lost += piece.lost,
                _ => self.lost += piece.lost,
            }
        }
        for line in &piece.lines {
            self.log_line(line);
        }
    }

    /// The case that runs, or that ran when the guest ended.
    fn current_case(&mut self) -> Option<&mut CaseRecord> {
        match (&mut self.state, &mut self.finished) {
            (GuestState::Running(case), _) | (GuestState::Ending(_), Some(case)) => Some(case),
            _ => None,
        }
    }

    fn log_line(&mut self, line: &LogLine) {
        let mark = match line.origin {
            Origin::Kernel => None,
            Origin::Program | Origin::Unknown => marker::find(&line.text, &self.nonce, &self.key),
        };
        match mark {
            Some(Found::Sealed(mark)) => {
                if matches!(mark, Mark::End(_) | Mark::Farewell) {
                    self.log.pass(line);
                }
                return self.mark_case(mark);
            }
            // Of the agent before it had a key, or of anybody: no verdict depends on it.
            Some(Found::Open(mark)) => {
                if let Some(case) = self.current_case().filter(|case| case.is_open()) {
                    case.disorder =
                        Some(format!("a marker that the agent did not write: {mark:?}"));
                }
                return;
            }
            None => {}
        }
        if line.origin != Origin::Program {
            if self.last_lines.len() == LAST_LINES {
                self.last_lines.pop_front();
            }
            self.last_lines.push_back(line.text.clone());
        }
        let fatal = line.origin != Origin::Program && complaint::is_fatal(&line.text);
        if fatal {
            self.panic = Some(line.text.clone());
        }
        match self.current_case() {
            Some(case) if case.is_open() => case.line(line),
            _ if line.origin == Origin::Program => {}
            _ => drop(self.strays.take(&line.text, &[])),
        }
    }

    /// The guest is over: the console tells what the agent could not.
    fn over(&mut self, end: End) {
        let rest = self.log.rest();
        self.take_log(&rest);
        let traces = self.log.take_traces();
        if let Some(case) = &mut self.finished {
            case.reports.finish();
            // To be asked for them may be too much for a kernel: that is ours, not the case's.
            traces.iter().for_each(|line| case.log.push(line, false));
        }
        let end = match self.prefer_panic(end) {
            End::Lost(how) => {
                let lines = self.last_lines.iter().map(String::as_str);
                End::Lost(cause::of_guest(lines, self.status.flatten()).unwrap_or(how))
            }
            end => end,
        };
        self.state = GuestState::Over(end);
    }

    fn fatal(&mut self, why: &str) -> Vec<Action> {
        self.lost_by(format!("the agent said: {why}"))
    }

    fn lost_by(&mut self, cause: String) -> Vec<Action> {
        self.cause.get_or_insert_with(|| cause.clone());
        self.end_observed(End::Lost(cause))
    }

    /// A marker of the agent's, in the kernel's log.
    fn mark_case(&mut self, mark: Mark) {
        // Nothing runs, so no verdict depends on it.
        let Some(case) = self.current_case() else { return };
        match mark {
            Mark::Begin(sequence) if sequence == case.sequence => case.begin_seen = true,
            Mark::Expect(what) if case.is_open() => case.expectations.declare(what),
            Mark::End(sequence) if sequence == case.sequence => {
                if !case.begin_seen {
                    case.disorder = Some("its begin marker is missing in the log".into());
                }
                case.end_seen = true;
                case.reports.finish();
            }
            Mark::Farewell => self.farewell = true,
            mark => case.disorder = Some(format!("a marker out of order in the log: {mark:?}")),
        }
    }

    fn connected(&mut self) -> Vec<Action> {
        if matches!(self.state, GuestState::Connecting) {
            self.state = GuestState::Ready;
        }
        Vec::new()
    }

    fn message(&mut self, message: ToHost) -> Vec<Action> {
        match (message, &mut self.state) {
            (ToHost::Output { stream, bytes }, GuestState::Running(case)) => {
                case.output.push(stream, bytes)
            }
            (ToHost::Exited(exit), GuestState::Running(case)) if exit.sequence == case.sequence => {
                self.close_case(exit);
            }
            (ToHost::Failed(why), GuestState::Running(case)) => {
                case.disorder = Some(format!("the agent could not run it: {why}"));
                return self.lost_by(format!("the agent failed: {why}"));
            }
            (ToHost::Log(log), _) => {
                let piece = self.log.agent(&log);
                match log {
                    Log::Boot { .. } => self.take_boot(&piece),
                    Log::Records(_) | Log::Text { .. } => self.take_log(&piece),
                }
            }
            (ToHost::SearchesForLeaks, GuestState::ShuttingDown) if self.memory.begin() => {
                return vec![Action::Grant(self.limits.search)];
            }
            (ToHost::Leaks(found), GuestState::ShuttingDown) if self.memory.is_searched() => {
                self.memory.end(found);
                return vec![Action::Grant(self.limits.power_off)];
            }
            (ToHost::Farewell, _) => self.farewell = true,
            _ => {}
        }
        Vec::new()
    }

    /// The agent's word that a case is over. All of its log came before that.
    fn close_case(&mut self, exit: Exit) {
        match std::mem::replace(&mut self.state, GuestState::Ready) {
            GuestState::Running(mut case) => {
                if !case.end_seen {
                    case.disorder = Some("its end marker is missing in the log".into());
                    case.end_seen = true;
                    case.reports.finish();
                }
                self.memory.judge(&mut case, &exit);
                case.exit = Some(exit);
                self.finished = Some(case);
                self.hung = None;
                self.log.expect_traces(false);
            }
            other => self.state = other,
        }
    }

    fn run(&mut self, sequence: u32, limit: Duration) -> Vec<Action> {
        if !matches!(self.state, GuestState::Ready) {
            return Vec::new();
        }
        let record = CaseRecord { sequence, ..CaseRecord::default() };
        self.state = GuestState::Running(record.into());
        vec![Action::Grant(limit)]
    }

    fn power_off(&mut self) -> Vec<Action> {
        if !matches!(self.state, GuestState::Ready) {
            return Vec::new();
        }
        self.state = GuestState::ShuttingDown;
        self.asked_to_go = true;
        vec![Action::Grant(self.limits.power_off)]
    }

    /// A sign that the guest has ended or is about to.
    fn end_observed(&mut self, end: End) -> Vec<Action> {
        let end = self.hung.map_or(end, |what| End::Hung(what.into()));
        match std::mem::replace(&mut self.state, GuestState::Booting) {
            GuestState::Over(end) => self.state = GuestState::Over(end),
            // The first sign names the end, but a panic explains it better.
            GuestState::Ending(End::BootFailed(first)) => {
                let why = self.panic.clone().unwrap_or(first);
                self.state = GuestState::Ending(End::BootFailed(why));
            }
            GuestState::Ending(first) => self.state = GuestState::Ending(self.prefer_panic(first)),
            // In an orderly power-off the connection and the console end as they should.
            GuestState::ShuttingDown if self.farewell => {
                self.state = GuestState::Ending(End::Clean { aborted: false });
                return self.finish_if_complete(Some(Action::Grant(self.limits.grace)));
            }
            GuestState::Booting | GuestState::Connecting => {
                let why = self.panic.clone().unwrap_or_else(|| end.to_string());
                self.state = GuestState::Ending(End::BootFailed(why));
                return self.finish_if_complete(Some(Action::Grant(self.limits.grace)));
            }
            GuestState::Running(case) => {
                self.finished = Some(case);
                self.state = GuestState::Ending(self.prefer_panic(end));
                return self.finish_if_complete(Some(Action::Grant(self.limits.grace)));
            }
            GuestState::Ready | GuestState::ShuttingDown => {
                self.state = GuestState::Ending(self.prefer_panic(end));
                return self.finish_if_complete(Some(Action::Grant(self.limits.grace)));
            }
        }
        self.finish_if_complete(None)
    }

    fn prefer_panic(&self, end: End) -> End {
        match (&self.panic, end) {
            // A program may write the words of a panic, and switch the guest off; a kernel that panics
            // aborts (`os_dump_core()` in arch/um/os-Linux/util.c).
            (Some(line), End::Lost(_) | End::Hung(_)) if !self.went_in_order() => {
                End::Panicked(line.clone())
            }
            // The process was gone before its last words were read.
            (_, End::Lost(_)) if self.shut_down_on_request() => End::Clean { aborted: false },
            (_, end) => end,
        }
    }

    fn went_in_order(&self) -> bool {
        matches!(self.status, Some(Some(status)) if status.success())
    }

    /// Whether it went because we asked it to.
    fn shut_down_on_request(&self) -> bool {
        self.asked_to_go && self.farewell && self.cause.is_none()
    }

    /// Ends the life once status and console have arrived.
    fn finish_if_complete(&mut self, otherwise: Option<Action>) -> Vec<Action> {
        if let (GuestState::Ending(end), Some(status), true) =
            (&self.state, self.status, self.console_closed)
        {
            let end = match end {
                End::Lost(_) => {
                    let cause = self.cause.clone();
                    self.prefer_panic(End::Lost(cause.unwrap_or_else(|| self.how_it_went())))
                }
                end => end.clone(),
            };
            let end = match (end, status) {
                (End::Clean { .. }, Some(status)) => End::Clean { aborted: !status.success() },
                (end, _) => end,
            };
            self.over(end);
            return Vec::new();
        }
        otherwise.into_iter().collect()
    }

    fn deadline(&mut self) -> Vec<Action> {
        let what = match &mut self.state {
            GuestState::Over(_) => return Vec::new(),
            GuestState::Ending(end) => {
                // Grace is over: whatever has not arrived by now will not.
                let end = end.clone();
                self.over(end);
                return vec![Action::Kill];
            }
            GuestState::Booting => "it did not become ready in time",
            GuestState::Connecting => "its agent did not answer in time",
            GuestState::Ready => return Vec::new(),
            GuestState::Running(case) => {
                let what = match case.over_by_console {
                    true => "it did not answer, though the case was over by its marker",
                    false => "it did not answer when the case's time was over",
                };
                if self.hung.replace(what).is_none() {
                    self.log.expect_traces(true);
                    return vec![Action::Trace, Action::Grant(self.limits.traces)];
                }
                what
            }
            GuestState::ShuttingDown => "it did not switch off in time",
        };
        let mut actions = self.end_observed(End::Hung(what.into()));
        actions.insert(0, Action::Kill);
        actions
    }

    fn how_it_went(&self) -> String {
        match self.status {
            Some(Some(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("its process exited with {code}"),
                (None, Some(signal)) => format!("signal {signal} ended its process"),
                (None, None) => "its process ended".into(),
            },
            Some(None) => "its keeper was killed".into(),
            None => "its process did not end".into(),
        }
    }
}

/// Lines of the log that nobody has.
pub fn lost_lines(count: u64) -> String {
    format!("at least {count} lines of the kernel's log were lost before they could be read")
}
