//! What an event means for a guest. Pure: every rule of a verdict is tested without a guest.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::time::Duration;

use uml_protocol::marker::{self, Event as Mark, Expectation, Found, Key};
use uml_protocol::wire::{Exit, Leaks, Log, ToHost};

use super::complaint::{self, Complaint, Reports};
use super::kernel_line::LogLine;

mod cause;
mod end;
mod ending;
mod event;
mod evidence;
mod log;
mod lost_memory;
mod record;
mod state;
#[cfg(test)]
mod tests;

pub use cause::out_of_memory;
pub use end::End;
pub use event::{Action, GuestEvent, TimeLimits};
use log::TwoWays;
pub use log::lost_lines;
use lost_memory::LostMemory;
pub use record::{CaseRecord, Expectations};
pub use state::GuestState;

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
    /// True if we asked it to switch itself off.
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

    /// Returns true if memory that is lost by now is a fault of its own, and not of what the kernel complained of.
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
}
