//! The rules of a verdict, each by what happens to a guest.
//!
//! Longer than 300 lines: every rule of a verdict has its test here, and all of them use these events.

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt as _;

use uml_protocol::marker::{Expectation, Marker};
use uml_protocol::wire::Owner;
use uml_protocol::wire::{Exit, Log, ProcessEnd, Stream};

use super::*;

const LIMITS: TimeLimits = TimeLimits {
    boot: Duration::from_secs(1),
    connect: Duration::from_secs(2),
    power_off: Duration::from_secs(3),
    grace: Duration::from_secs(4),
    marker: Duration::from_secs(5),
    traces: Duration::from_secs(6),
    search: Duration::from_secs(7),
};

const ABORT: i32 = 6;

const KEY: Key = Key([5; 16]);

/// Priorities of records: of the kernel, and of a program.
const KERNEL: u32 = 4;
const PROGRAM: u32 = 12;

thread_local! {
    static NEXT_RECORD: Cell<u64> = const { Cell::new(1) };
}

/// A line of the console.
fn console(text: &str) -> GuestEvent {
    GuestEvent::Line(format!("[    0.100000] {text}"))
}

/// A line of the log that the agent read.
fn record(priority: u32, text: &str) -> GuestEvent {
    let number = NEXT_RECORD.replace(NEXT_RECORD.get() + 1);
    let record = format!("{priority},{number},100000,-;{text}\n");
    GuestEvent::Message(ToHost::Log(Log::Records(record.into_bytes())))
}

fn line(text: &str) -> GuestEvent {
    record(KERNEL, text)
}

fn sealed(text: &str) -> String {
    let event = text.parse().unwrap();
    Marker { nonce: "n".into(), key: Some(KEY), event }.to_string()
}

/// A marker of the agent's.
fn mark(text: &str) -> GuestEvent {
    record(PROGRAM, &sealed(text))
}

/// The same, as the console has it.
fn mark_on_console(text: &str) -> GuestEvent {
    console(&sealed(text))
}

/// A marker of the agent before it has a key, or of anybody.
fn open_mark(text: &str) -> GuestEvent {
    record(PROGRAM, &format!("uml-agent n {text}"))
}

/// The agent's first word.
fn is_ready() -> GuestEvent {
    console("uml-agent n ready 7")
}

fn exit(sequence: u32, code: i32) -> GuestEvent {
    let end = ProcessEnd::Code(code);
    GuestEvent::Message(ToHost::Exited(Exit::plain(sequence, end, Duration::ZERO, None, None)))
}

fn exited(raw: i32) -> GuestEvent {
    GuestEvent::Exited(Some(ExitStatus::from_raw(raw)))
}

fn run(sequence: u32) -> GuestEvent {
    GuestEvent::Run { sequence, limit: Duration::from_secs(9) }
}

/// A guest that is ready, after which `events` happened.
fn ready(events: impl IntoIterator<Item = GuestEvent>) -> Machine {
    let (mut machine, _) = Machine::new("n", KEY, LIMITS);
    assert_eq!(machine.step(is_ready())[0], Action::Connect(7));
    machine.step(GuestEvent::Connected);
    for event in events {
        machine.step(event);
    }
    machine
}

fn end(machine: &Machine) -> &End {
    match machine.state() {
        GuestState::Over(end) => end,
        other => panic!("it is not over: {other:?}"),
    }
}

#[test]
fn a_case_is_closed_by_the_agents_word_after_its_log() {
    let mut machine = ready([run(1), mark("begin 1"), line("said"), mark("end 1")]);
    assert!(machine.take_case_if_settled().is_none());
    machine.step(exit(1, 0));
    let case = machine.take_case_if_settled().unwrap();
    assert_eq!(case.log.all(), ["[    0.100000] said"]);
    assert_eq!(case.disorder, None);
    assert!(matches!(machine.state(), GuestState::Ready));
    let mut machine = ready([run(1), mark("begin 1"), exit(1, 0)]);
    let case = machine.take_case_if_settled().unwrap();
    assert!(case.disorder.unwrap().contains("end marker is missing"));
}

#[test]
fn the_console_says_nothing_of_a_case_that_its_guest_outlives() {
    let lines = ["WARNING: of nobody", "uml-agent n end 1", "uml-agent n expect message x"];
    let of_console = lines.iter().map(|text| console(text));
    let events = [run(1), mark("begin 1")].into_iter().chain(of_console);
    let mut machine = ready(events.chain([mark("end 1"), exit(1, 0)]));
    let case = machine.take_case_if_settled().unwrap();
    assert!(case.log.all().is_empty() && case.disorder.is_none(), "{case:?}");
    assert!(case.reports.undeclared().is_empty());
}

#[test]
fn what_a_program_writes_is_kept_and_is_no_word_of_the_kernels() {
    let of_program = |text: &str| record(PROGRAM, text);
    let mut machine = ready([
        run(1),
        mark("begin 1"),
        of_program("WARNING: at x.c:3"),
        of_program("Kernel panic - not syncing: by hand"),
        mark("end 1"),
        exit(1, 0),
    ]);
    let case = machine.take_case_if_settled().unwrap();
    assert_eq!(case.log.all().len(), 2);
    assert!(case.reports.undeclared().is_empty() && case.last_line.is_empty());
    machine.step(exited(ABORT));
    machine.step(GuestEvent::ConsoleClosed);
    assert!(matches!(end(&machine), End::Lost(_)), "{}", end(&machine));
}

#[test]
fn lines_that_were_lost_are_the_cases_that_ran() {
    NEXT_RECORD.set(1);
    let begun = [run(1), mark("begin 1"), line("x")];
    let mut machine = ready(begun);
    NEXT_RECORD.set(10);
    for event in [line("y"), mark("end 1"), exit(1, 0)] {
        machine.step(event);
    }
    assert_eq!(machine.take_case_if_settled().unwrap().lost, 7);
    NEXT_RECORD.set(20);
    machine.step(line("z"));
    let strays = machine.take_strays();
    assert_eq!(strays[0].name, "lost-log");
    assert!(strays[0].line.contains("at least 8 lines"), "{}", strays[0]);
}

#[test]
fn a_missing_or_foreign_marker_is_a_disorder() {
    let mut machine = ready([run(1), mark("end 1"), exit(1, 0)]);
    assert!(machine.take_case_if_settled().unwrap().disorder.is_some());
    let mut machine = ready([run(2), mark("begin 2"), mark("end 1"), mark("end 2"), exit(2, 0)]);
    assert!(machine.take_case_if_settled().unwrap().disorder.is_some());
}

#[test]
fn lines_outside_of_the_markers_are_not_the_cases() {
    let events =
        [run(1), line("before"), mark("begin 1"), mark("end 1"), line("after"), exit(1, 0)];
    assert!(ready(events).take_case_if_settled().unwrap().log.all().is_empty());
}

#[test]
fn a_panic_is_told_by_the_console_and_keeps_the_case() {
    let mut machine = ready([run(1), mark("begin 1"), line("said")]);
    machine.step(console("said"));
    for event in [
        console("Kernel panic - not syncing: no"),
        console("Call Trace:"),
        GuestEvent::Disconnected("reset".into()),
        exited(ABORT),
        GuestEvent::ConsoleClosed,
    ] {
        machine.step(event);
    }
    assert_eq!(end(&machine), &End::Panicked("Kernel panic - not syncing: no".into()));
    let case = machine.take_case_if_settled().unwrap();
    assert_eq!(case.log.all().len(), 3, "each line once: {:?}", case.log.all());
    assert!(case.exit.is_none());
}

#[test]
fn a_panic_explains_a_broken_connection_that_was_seen_first() {
    let machine = ready([
        run(1),
        mark("begin 1"),
        GuestEvent::Disconnected("reset".into()),
        console("Kernel panic - not syncing: late"),
        exited(ABORT),
        GuestEvent::ConsoleClosed,
    ]);
    assert_eq!(end(&machine), &End::Panicked("Kernel panic - not syncing: late".into()));
}

#[test]
fn what_a_case_declared_counts_though_its_guests_end_is_known_before() {
    let mut machine = ready([
        run(1),
        exited(ABORT),
        GuestEvent::Disconnected("reset".into()),
        mark_on_console("begin 1"),
        mark_on_console("expect death Kernel panic"),
        console("Kernel panic - not syncing: asked for"),
        GuestEvent::ConsoleClosed,
    ]);
    let case = machine.take_case_if_settled().unwrap();
    assert_eq!(case.expectations.all(), [Expectation::Death("Kernel panic".into())]);
    assert!(case.reports.has_declared_death());
    assert_eq!(case.log.all().len(), 1);
    assert!(matches!(end(&machine), End::Panicked(_)));
}

#[test]
fn a_silent_death_is_lost_and_says_how() {
    let machine = ready([run(1), exited(9), GuestEvent::ConsoleClosed]);
    let killed = "the host killed it with signal 9 (out of memory on the host?)";
    assert_eq!(end(&machine), &End::Lost(killed.into()));
    let machine = ready([run(1), exited(11), GuestEvent::ConsoleClosed]);
    assert_eq!(end(&machine), &End::Lost("signal 11 ended its process".into()));
}

#[test]
fn a_case_that_outlives_its_limit_makes_the_guest_hung() {
    let mut machine = ready([run(1), mark("begin 1")]);
    assert_eq!(machine.step(GuestEvent::Deadline), [Action::Trace, Action::Grant(LIMITS.traces)]);
    machine.step(console("task:stuck"));
    let actions = machine.step(GuestEvent::Deadline);
    assert_eq!(actions, [Action::Kill, Action::Grant(LIMITS.grace)]);
    machine.step(GuestEvent::Exited(None));
    machine.step(GuestEvent::ConsoleClosed);
    assert!(matches!(end(&machine), End::Hung(_)));
    let case = machine.take_case_if_settled().unwrap();
    assert!(case.exit.is_none());
    assert_eq!(case.log.all(), ["[    0.100000] task:stuck"]);
}

#[test]
fn a_guest_that_dies_of_being_asked_for_traces_is_hung_all_the_same() {
    let panic = console("Kernel panic - not syncing: Segfault with no mm");
    let late = [run(1), mark("begin 1"), GuestEvent::Deadline, panic, exited(ABORT)];
    let mut machine = ready(late.into_iter().chain([GuestEvent::ConsoleClosed]));
    assert!(matches!(end(&machine), End::Hung(_)));
    let case = machine.take_case_if_settled().unwrap();
    assert_eq!(case.log.all().len(), 1, "it is shown");
    assert!(case.reports.undeclared().is_empty(), "and charged to nobody");
}

#[test]
fn a_late_answer_ends_a_case_whose_guest_was_taken_for_hung() {
    let mut machine =
        ready([run(1), mark("begin 1"), GuestEvent::Deadline, mark("end 1"), exit(1, 0)]);
    assert!(machine.take_case_if_settled().unwrap().exit.is_some());
    machine.step(GuestEvent::Disconnected("reset".into()));
    machine.step(exited(9));
    machine.step(GuestEvent::ConsoleClosed);
    assert!(matches!(end(&machine), End::Lost(_)));
}

#[test]
fn the_farewell_decides_and_not_the_exit_status() {
    let farewell = || GuestEvent::Message(ToHost::Farewell);
    let clean = ready([GuestEvent::PowerOff, farewell(), exited(0), GuestEvent::ConsoleClosed]);
    assert_eq!(end(&clean), &End::Clean { aborted: false });
    let aborted = ready([
        GuestEvent::PowerOff,
        mark_on_console("farewell"),
        GuestEvent::Disconnected("closed".into()),
        GuestEvent::ConsoleClosed,
        exited(ABORT),
    ]);
    assert_eq!(end(&aborted), &End::Clean { aborted: true });
    // Status, messages and console come by different ways, in any order.
    for (status, aborted) in [(0, false), (ABORT, true)] {
        let orders = [
            [exited(status), mark_on_console("farewell"), GuestEvent::ConsoleClosed],
            [exited(status), farewell(), GuestEvent::ConsoleClosed],
            [GuestEvent::Disconnected("closed".into()), farewell(), GuestEvent::ConsoleClosed],
        ];
        for order in orders {
            let late =
                ready([GuestEvent::PowerOff].into_iter().chain(order).chain([exited(status)]));
            assert_eq!(end(&late), &End::Clean { aborted });
        }
    }
    let silent = ready([GuestEvent::PowerOff, exited(0), GuestEvent::ConsoleClosed]);
    assert_eq!(end(&silent), &End::Lost("its process exited with 0".into()));
}

#[test]
fn a_boot_that_fails_says_why() {
    let boot = |events: Vec<GuestEvent>| {
        let (mut machine, _) = Machine::new("n", KEY, LIMITS);
        for event in events {
            machine.step(event);
        }
        end(&machine).to_string()
    };
    let over = || [exited(ABORT), GuestEvent::ConsoleClosed];
    let panic = || console("Kernel panic - not syncing: VFS");
    let mut events = vec![panic()];
    events.extend(over());
    assert!(boot(events).contains("not syncing: VFS"));
    assert!(boot(over().into()).contains("signal 6"));
    let mut late = vec![GuestEvent::Deadline];
    late.extend(over());
    assert!(boot(late).contains("did not become ready in time"));
    let mut refused = vec![is_ready(), GuestEvent::Disconnected("refused".into())];
    refused.extend(over());
    assert!(boot(refused).contains("refused"));
}

#[test]
fn grace_ends_what_never_ends_by_itself() {
    let mut machine = ready([run(1), mark("begin 1"), GuestEvent::Disconnected("reset".into())]);
    assert_eq!(machine.step(GuestEvent::Deadline), [Action::Kill]);
    assert!(matches!(end(&machine), End::Lost(_)));
}

#[test]
fn markers_of_another_run_mean_nothing() {
    let (mut machine, _) = Machine::new("n", KEY, LIMITS);
    assert!(machine.step(console("uml-agent other ready 7")).is_empty());
    assert!(matches!(machine.state(), GuestState::Booting));
}

#[test]
fn a_flood_of_output_is_bounded() {
    let mut machine = ready([run(1), mark("begin 1")]);
    for _ in 0..100 {
        let bytes = vec![b'x'; 1 << 20];
        machine.step(GuestEvent::Message(ToHost::Output { stream: Stream::Stdout, bytes }));
    }
    for number in 0..50_000 {
        machine.step(line(if number == 30_000 { "WARNING: at x.c:3" } else { "flood" }));
    }
    machine.step(mark("end 1"));
    machine.step(exit(1, 0));
    let case = machine.take_case_if_settled().unwrap();
    // A chunk is kept whole.
    assert!(case.output.bytes().len() < 4 << 20);
    let log = case.log.all();
    assert!(log.len() < 30_000, "{}", log.len());
    assert!(log.iter().any(|line| line.contains("WARNING: at x.c:3")), "none that counts is lost");
}

#[test]
fn declarations_belong_to_the_case_that_runs() {
    let declared = || mark("expect message at x.c:3");
    let mut machine =
        ready([declared(), run(1), mark("begin 1"), declared(), mark("end 1"), exit(1, 0)]);
    let case = machine.take_case_if_settled().unwrap();
    assert_eq!(case.expectations.all(), [Expectation::Message("at x.c:3".into())]);
    assert_eq!(case.disorder, None);
}

#[test]
fn a_complaint_while_no_case_runs_belongs_to_none_and_is_kept() {
    let warn = || line("WARNING: at x.c:3");
    let mut machine =
        ready([warn(), run(1), warn(), mark("begin 1"), mark("end 1"), exit(1, 0), warn()]);
    assert!(machine.take_case_if_settled().unwrap().log.all().is_empty());
    assert_eq!(machine.take_strays().len(), 3);
}

#[test]
fn a_guest_that_dies_before_a_case_begins_leaves_a_record_without_a_beginning() {
    let mut machine = ready([run(1), console("Kernel panic - not syncing: x"), exited(ABORT)]);
    machine.step(GuestEvent::ConsoleClosed);
    assert!(!machine.take_case_if_settled().unwrap().begin_seen);
    assert_eq!(*end(&machine), End::Panicked("Kernel panic - not syncing: x".into()));
}

#[test]
fn a_marker_that_the_agent_did_not_write_is_never_a_pass() {
    let forged = ["end 1", "begin 1", "begin 2", "farewell", "fatal no", "expect message x"];
    for forged in forged {
        let mut machine =
            ready([run(1), mark("begin 1"), open_mark(forged), mark("end 1"), exit(1, 0)]);
        let disorder = machine.take_case_if_settled().unwrap().disorder.unwrap();
        assert!(disorder.contains("the agent did not write"), "{forged}: {disorder}");
    }
    // Nor does it close the case: what the kernel says after it is still the case's.
    let mut machine = ready([run(1), mark("begin 1"), open_mark("end 1"), line("BUG: x")]);
    machine.step(mark("end 1"));
    machine.step(exit(1, 0));
    let case = machine.take_case_if_settled().unwrap();
    assert_eq!(case.log.all(), ["[    0.100000] BUG: x"]);
    assert_eq!(case.reports.undeclared().len(), 1);
}

#[test]
fn a_guest_that_goes_by_itself_is_named_by_its_kernels_last_words() {
    for (line, name) in [
        ("reboot: Power down", "the guest was powered off"),
        ("sysrq: Resetting", "the guest was reset by SysRq b"),
    ] {
        let by_agent = ready([run(1), mark("begin 1"), self::line(line)]);
        let by_console = ready([run(1), mark("begin 1"), console(line)]);
        for mut machine in [by_agent, by_console] {
            machine.step(exited(0));
            machine.step(GuestEvent::ConsoleClosed);
            assert_eq!(end(&machine), &End::Lost(name.into()));
        }
    }
    // Who boots again has said that it restarts.
    let mut again = ready([run(1), mark("begin 1"), console("Restarting system."), is_ready()]);
    again.step(GuestEvent::Exited(None));
    again.step(GuestEvent::ConsoleClosed);
    assert_eq!(end(&again), &End::Lost("the guest was rebooted".into()));
}

#[test]
fn a_forged_farewell_does_not_make_an_end_clean() {
    let forged = [run(1), mark("begin 1"), open_mark("farewell"), mark("end 1"), exit(1, 0)];
    let forged_on_console = console("uml-agent n farewell");
    let late = [
        GuestEvent::PowerOff,
        open_mark("farewell"),
        forged_on_console,
        exited(ABORT),
        GuestEvent::ConsoleClosed,
    ];
    let machine = ready(forged.into_iter().chain(late));
    assert!(matches!(end(&machine), End::Lost(_)));
}

#[test]
fn a_guest_that_boots_again_is_lost_at_once() {
    let (mut machine, again) = (ready([run(1), mark("begin 1")]), is_ready());
    assert!(machine.step(again).contains(&Action::Kill));
    machine.step(GuestEvent::Exited(None));
    machine.step(GuestEvent::ConsoleClosed);
    assert_eq!(end(&machine), &End::Lost("it began to boot again".into()));
    assert!(machine.take_case_if_settled().unwrap().exit.is_none());
}

#[test]
fn a_case_that_is_over_is_not_waited_for_as_long_as_one_that_runs() {
    let mut machine = ready([run(1), mark("begin 1")]);
    assert_eq!(machine.step(mark_on_console("end 1")), [Action::Grant(LIMITS.marker)]);
    assert_eq!(machine.step(mark_on_console("end 1")), [], "once");
    assert_eq!(machine.step(GuestEvent::Deadline), [Action::Trace, Action::Grant(LIMITS.traces)]);
    machine.step(GuestEvent::Deadline);
    machine.step(GuestEvent::Exited(None));
    machine.step(GuestEvent::ConsoleClosed);
    assert!(end(&machine).to_string().contains("over by its marker"), "{}", end(&machine));
    assert!(machine.take_case_if_settled().unwrap().exit.is_none());
}

#[test]
fn a_panic_is_why_a_guest_does_not_come_up_though_the_connection_broke_first() {
    let (mut machine, _) = Machine::new("n", KEY, LIMITS);
    machine.step(is_ready());
    machine.step(GuestEvent::Disconnected("reset".into()));
    machine.step(console("Kernel panic - not syncing: corrupted stack end"));
    machine.step(exited(ABORT));
    machine.step(GuestEvent::ConsoleClosed);
    let expected = End::BootFailed(
        End::Panicked("Kernel panic - not syncing: corrupted stack end".into()).into(),
    );
    assert_eq!(*end(&machine), expected);
}

#[test]
fn memory_that_a_case_lost_is_told_unless_its_kernel_said_so_then() {
    let found = "kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)";
    let case = |number: u32, said: &str| {
        let marked = |what| mark(&format!("{what} {number}"));
        [run(number), marked("begin"), line(said), marked("end"), exit(number, 0)]
    };
    let leaks = [Owner::Case(1), Owner::Case(2), Owner::After(2), Owner::Nobody]
        .map(|owner| (owner, format!("of {owner:?}")));
    let mut machine = ready(case(1, "nothing").into_iter().chain(case(2, found)));
    assert!(machine.is_memory_in_order());
    machine.expect_at_boot(&["of Nobody".into()]);
    machine.step(GuestEvent::Message(ToHost::Leaks(leaks.to_vec())));
    assert_eq!(machine.take_leaks(), [], "nobody looked");
    machine.step(GuestEvent::PowerOff);
    let searches = || GuestEvent::Message(ToHost::SearchesForLeaks);
    assert_eq!(machine.step(searches()), [Action::Grant(LIMITS.search)]);
    assert_eq!(machine.step(searches()), []);
    machine.step(GuestEvent::Message(ToHost::Leaks(leaks.to_vec())));
    machine.step(line(found));
    machine.step(line("kmemleak: Found object by alias at 0x1"));
    let strays = machine.take_strays();
    assert_eq!(strays.len(), 1, "{strays:?}");
    assert!(strays[0].line.contains("by alias"));
    let [told, _, after, _] = leaks;
    assert_eq!(machine.take_leaks(), [told, after]);
}

#[test]
fn nobody_looks_for_lost_memory_where_the_kernel_complained_of_something_else() {
    for (said, in_order) in [("kmemleak: Found object by alias", true), ("BUG: x", false)] {
        let machine = ready([run(1), mark("begin 1"), line(said), mark("end 1"), exit(1, 0)]);
        assert_eq!(machine.is_memory_in_order(), in_order, "{said}");
    }
}

#[test]
fn what_an_earlier_case_lost_is_not_the_fault_of_the_one_that_looks() {
    let charged = |owners: &[Owner]| {
        let found = "kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)";
        let mut over = exit(2, 0);
        if let GuestEvent::Message(ToHost::Exited(exit)) = &mut over {
            exit.leaks = Some(owners.iter().map(|owner| (*owner, "64 bytes".into())).collect());
        }
        let mut machine = ready([run(2), mark("begin 2"), line(found), mark("end 2"), over]);
        let case = machine.take_case_if_settled().unwrap();
        case.reports.undeclared().len()
    };
    assert_eq!(charged(&[Owner::Case(1), Owner::After(1)]), 0);
    assert_eq!(charged(&[Owner::Case(1), Owner::Case(2)]), 1);
}
