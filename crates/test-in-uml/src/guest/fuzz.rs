//! Guests that say and do anything, in any order.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use uml_protocol::marker::{self, Event as Mark, Expectation, Found, Key, Marker};
use uml_protocol::wire::{Exit, Log, ProcessEnd, Stream, ToHost};

use super::complaint::{self, Complaint};
use super::console;
use super::kernel_line::{self, LogLine};
use super::machine::{Action, CaseRecord, GuestEvent, GuestState, Machine, TimeLimits};

/// What console lines are made of: what the table of complaints looks for, and what is close to it.
const WORDS: &[&str] = &[
    "[    1.200000] ",
    "[   T47] ",
    "<0>",
    "<12>",
    "[",
    "] ",
    "0.1",
    "uml-agent ",
    "n ",
    "m ",
    "ready ",
    "begin ",
    "end ",
    "expect ",
    "message ",
    "death ",
    "fatal ",
    "farewell",
    "1",
    "2",
    "65536",
    "-1",
    " ",
    "Kernel panic - not syncing",
    ": ",
    "WARNING: ",
    "CPU: 0 PID: 1 at ",
    "BUG: ",
    "KASAN: ",
    "INFO: task ",
    " blocked for more than",
    "rcu: ",
    "(lpj=",
    "preset",
    ")",
    "kmemleak: ",
    "\u{1b}[31m",
    "\0",
    "ä",
    "\u{fffd}",
    "list_add corruption",
];

fn line() -> impl Strategy<Value = String> {
    vec(select(WORDS), 0..8).prop_map(|words| words.concat())
}

/// The key of the machine, whose nonce is `n`.
const KEY: Key = Key([7; 16]);

/// A line that means something to it, sealed or forged.
fn mark() -> impl Strategy<Value = String> {
    let what = prop_oneof![
        Just(Mark::Ready(7)),
        Just(Mark::Farewell),
        Just(Mark::Fatal("x".into())),
        Just(Mark::Expect(Expectation::Message("B".into()))),
        Just(Mark::Expect(Expectation::Death("K".into()))),
        (1..4_u32).prop_map(Mark::Begin),
        (1..4_u32).prop_map(Mark::End),
    ];
    let key = select(&[Some(KEY), Some(KEY), None, Some(Key([8; 16]))][..]);
    (what, key, select(&["n", "n", "n", "m"][..])).prop_map(|(event, key, nonce)| {
        let marker = Marker { nonce: nonce.into(), key, event };
        marker.to_string()
    })
}

fn message() -> impl Strategy<Value = ToHost> {
    let exit = (
        1..4_u32,
        select(
            &[
                ProcessEnd::Code(0),
                ProcessEnd::Code(101),
                ProcessEnd::Signal(6),
                ProcessEnd::TimedOut,
            ][..],
        ),
    );
    prop_oneof![
        exit.prop_map(|(sequence, end)| ToHost::Exited(Exit {
            sequence,
            end,
            duration: Duration::ZERO,
            skip: None,
            leftovers: Vec::new(),
            loaded: Vec::new(),
            tainted: 0,
            word: None,
            leaks: None,
        })),
        Just(ToHost::Log(Log::Boot { text: b"<6>[    0.000000] Linux".to_vec(), records: true })),
        Just(ToHost::Output {
            stream: Stream::Stdout,
            bytes: b"test result: ok. 1 passed; 0 failed".to_vec()
        }),
        Just(ToHost::Failed("it".into())),
        Just(ToHost::Farewell),
        Just(ToHost::Have),
    ]
}

/// What a test can make again at each step: an event cannot be cloned.
#[derive(Debug, Clone)]
enum Happening {
    /// On the console, which says nothing of a case that its guest outlives.
    Line(String),
    /// In the log that the agent reads.
    Record(u64, String),
    Message(ToHost),
    Run(u32),
    Exited(Option<i32>),
    Plain(u8),
}

impl Happening {
    fn event(self) -> GuestEvent {
        match self {
            Self::Line(line) => GuestEvent::Line(format!("[    1.000000] {line}")),
            Self::Record(number, line) => {
                let record = format!("12,{number},1000000,-;{line}\n");
                GuestEvent::Message(ToHost::Log(Log::Records(record.into_bytes())))
            }
            Self::Message(message) => GuestEvent::Message(message),
            Self::Run(sequence) => GuestEvent::Run { sequence, limit: Duration::from_secs(1) },
            Self::Exited(raw) => GuestEvent::Exited(raw.map(ExitStatus::from_raw)),
            Self::Plain(0) => GuestEvent::Connected,
            Self::Plain(1) => GuestEvent::ConsoleClosed,
            Self::Plain(2) => GuestEvent::Disconnected("cut".into()),
            Self::Plain(3) => GuestEvent::PowerOff,
            Self::Plain(_) => GuestEvent::Deadline,
        }
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0..9_u64, mark()).prop_map(|(number, mark)| Happening::Record(number, mark)),
        1 => mark().prop_map(Happening::Line),
        2 => line().prop_map(Happening::Line),
        4 => message().prop_map(Happening::Message),
        3 => (1..4_u32).prop_map(Happening::Run),
        1 => select(&[None, Some(0), Some(6)][..]).prop_map(Happening::Exited),
        3 => (0..5_u8).prop_map(Happening::Plain),
    ]
}

/// What was told of the case that runs, or ran last, by each of the three that have to agree.
#[derive(Debug, Default, Clone)]
struct Told {
    sequence: u32,
    begun: bool,
    ended: bool,
    /// The cases whose end the console had, which is asked for the last words of a guest that died, and of no
    /// other; a line of it may come before its case runs.
    ended_on_console: Vec<u32>,
    exited: bool,
}

impl Told {
    fn take(&mut self, what: &Happening) {
        match what {
            Happening::Record(_, line) => match marker::find(line, "n", &KEY) {
                Some(Found::Sealed(Mark::Begin(of))) if of == self.sequence => self.begun = true,
                Some(Found::Sealed(Mark::End(of))) if of == self.sequence => {
                    self.ended |= self.begun
                }
                _ => {}
            },
            Happening::Line(line) => {
                if let Some(Found::Sealed(Mark::End(of))) = marker::find(line, "n", &KEY) {
                    self.ended_on_console.push(of);
                }
            }
            Happening::Message(ToHost::Exited(exit)) if exit.sequence == self.sequence => {
                self.exited = true
            }
            _ => {}
        }
    }

    /// A record without disorder was told by all three.
    fn check(&self, record: &CaseRecord) -> Result<(), TestCaseError> {
        prop_assert_eq!(record.sequence, self.sequence);
        let on_console = self.ended_on_console.contains(&self.sequence);
        if record.disorder.is_none() && record.end_seen {
            prop_assert!(
                self.begun && (self.ended || on_console && record.exit.is_none()),
                "closed without its markers: {self:?}, {record:?}"
            );
        }
        prop_assert!(record.exit.is_none() || self.exited, "{self:?}, {record:?}");
        Ok(())
    }
}

const LIMITS: TimeLimits = TimeLimits {
    boot: Duration::from_secs(1),
    connect: Duration::from_secs(1),
    power_off: Duration::from_secs(1),
    grace: Duration::from_secs(1),
    marker: Duration::from_secs(1),
    traces: Duration::from_secs(1),
    search: Duration::from_secs(1),
};

proptest! {
    #[test]
    fn no_line_does_harm(lines in vec(line(), 0..6)) {
        for line in &lines {
            let text = LogLine::of_boot(line).text;
            prop_assert!(!complaint::is_fatal(&text) || !Complaint::of_log(&[line]).is_empty());
            console::calibrated_lpj(line);
            kernel_line::records(line.as_bytes()).count();
            kernel_line::syslog_lines(line.as_bytes(), true);
        }
        prop_assert!(Complaint::of_log(&lines).len() <= lines.len());
    }

    #[test]
    fn no_case_passes_without_both_markers_and_the_agents_word(
        ready in any::<bool>(),
        happenings in vec(happening(), 0..30),
    ) {
        let (mut machine, _) = Machine::new("n", KEY, LIMITS);
        let mut told = Told::default();
        let up = [Happening::Line("uml-agent n ready 7".into()), Happening::Plain(0)];
        for what in up.into_iter().filter(|_| ready).chain(happenings) {
            let (was_ready, was_over) =
                (matches!(machine.state(), GuestState::Ready), matches!(machine.state(), GuestState::Over(_)));
            match what {
                Happening::Run(sequence) if was_ready => {
                    let ended_on_console = std::mem::take(&mut told.ended_on_console);
                    told = Told { sequence, ended_on_console, ..Told::default() };
                }
                ref what => told.take(what),
            }
            let actions = machine.step(what.event());
            prop_assert!(!was_over || matches!(machine.state(), GuestState::Over(_)), "it rose from the dead");
            prop_assert!(!was_over || !actions.contains(&Action::Kill));
            if let Some(record) = machine.take_case_if_settled() {
                told.check(&record)?;
            }
        }
        // Whatever happened: with deadlines alone it comes to an end.
        machine.step(GuestEvent::PowerOff);
        for _ in 0..6 {
            machine.step(GuestEvent::Deadline);
            if let Some(record) = machine.take_case_if_settled() {
                told.check(&record)?;
            }
        }
        machine.step(GuestEvent::PowerOff);
        machine.step(GuestEvent::Deadline);
        machine.step(GuestEvent::Deadline);
        prop_assert!(matches!(machine.state(), GuestState::Over(_)), "{:?}", machine.state());
    }
}
