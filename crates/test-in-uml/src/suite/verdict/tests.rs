use uml_protocol::wire::{Exit, Stream};

use super::*;
use crate::guest::Output;
use crate::guest::kernel_line::{LogLine, Origin};

const PASSED: &str = "\nrunning 1 test\ntest a ... ok\n\n\
    test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";

const ASKED: Asked<'_> =
    Asked { name: "a", word: Word::Stdout, listed: 1, rules: None, injected: None };

fn outcome(record: &CaseRecord, guest: Option<&End>) -> Outcome {
    super::outcome(record, ASKED, guest)
}

fn record(end: ProcessEnd, skip: Option<&str>, stdout: &str) -> CaseRecord {
    let mut output = Output::default();
    output.push(Stream::Stdout, stdout.into());
    CaseRecord {
        exit: Some(Exit {
            sequence: 1,
            end,
            duration: Duration::ZERO,
            skip: skip.map(str::to_owned),
            leftovers: Vec::new(),
            loaded: Vec::new(),
            tainted: 0,
            word: None,
            leaks: None,
        }),
        end_seen: true,
        output,
        ..CaseRecord::default()
    }
}

#[test]
fn a_case_passes_only_by_its_tests_own_word() {
    let zero = ProcessEnd::Code(0);
    assert_eq!(outcome(&record(zero, None, PASSED), None), Outcome::Passed);
    let none = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed\n";
    for silent in ["", "hello\n", none] {
        let outcome = outcome(&record(zero, None, silent), None);
        assert!(matches!(outcome, Outcome::Failed(_)), "{silent}");
    }
}

#[test]
fn a_file_of_libtests_outranks_what_a_case_prints() {
    let asked = Asked { word: Word::LogFile, ..ASKED };
    let of = |word: Option<&str>| {
        let mut record = record(ProcessEnd::Code(0), None, PASSED);
        record.exit.as_mut().unwrap().word = word.map(str::to_owned);
        super::outcome(&record, asked, None)
    };
    assert_eq!(of(Some("ok a\n")), Outcome::Passed);
    for other in [None, Some(""), Some("failed a\n"), Some("ok b\n")] {
        assert!(matches!(of(other), Outcome::Failed(_)), "{other:?}");
    }
}

#[test]
fn a_skip_is_neither_passed_nor_a_way_around_a_failure() {
    let skipped = record(ProcessEnd::Code(0), Some("no loop"), PASSED);
    assert_eq!(outcome(&skipped, None), Outcome::Skipped("no loop".into()));
    let failed = record(ProcessEnd::Code(101), Some("no loop"), "");
    assert_eq!(outcome(&failed, None), Outcome::Failed("exit code 101".into()));
}

#[test]
fn signals_and_time_fail() {
    let outcome = |end| outcome(&record(end, None, PASSED), None);
    assert_eq!(outcome(ProcessEnd::Signal(11)), Outcome::Failed("signal 11".into()));
    assert_eq!(outcome(ProcessEnd::TimedOut), Outcome::TimedOut);
}

#[test]
fn a_guest_that_died_fails_the_case_that_ran() {
    let panic = End::Panicked("Kernel panic - not syncing: x".into());
    let died = outcome(&CaseRecord::default(), Some(&panic));
    assert_eq!(died, Outcome::Died { end: panic.clone(), complaint: None });
    assert!(died.is_failure());
}

#[test]
fn a_disorder_is_never_a_pass() {
    let mut record = record(ProcessEnd::Code(0), None, PASSED);
    record.disorder = Some("a marker is missing".into());
    assert!(outcome(&record, None).is_failure());
}

#[test]
fn a_case_that_killed_its_guest_took_its_time_too() {
    let took = Duration::from_secs(3);
    let end = End::Panicked("BUG".into());
    assert_eq!(Verdict::of(CaseRecord::default(), ASKED, took, Some(&end)).duration, took);
    let told = record(ProcessEnd::Code(0), None, PASSED);
    assert_eq!(Verdict::of(told, ASKED, took, None).duration, Duration::ZERO);
}

#[test]
fn a_guest_that_is_not_what_it_was_is_not_for_others() {
    let after = |leftover: Leftover| {
        let mut record = record(ProcessEnd::Code(0), None, PASSED);
        record.exit.as_mut().unwrap().leftovers.push(leftover);
        let verdict = Verdict::of(record, ASKED, Duration::ZERO, None);
        assert_eq!(verdict.outcome, Outcome::Passed);
        verdict.spoils_guest()
    };
    let place = || String::from("/run");
    for spoilt in [
        Leftover::Unmounted(place()),
        Leftover::Space(place(), 1),
        Leftover::Program(place()),
        Leftover::Stuck(place()),
        Leftover::Module(place()),
        Leftover::Setting(place()),
        Leftover::PackageFile(place()),
        Leftover::Network(place()),
    ] {
        assert!(after(spoilt));
    }
    for ended in [Leftover::Process(place()), Leftover::Mount(place()), Leftover::Clock(1)] {
        assert!(!after(ended));
    }
}

/// The record with these declarations, after which the kernel said these lines.
fn declared(mut record: CaseRecord, what: &[Expectation], lines: &[&str]) -> CaseRecord {
    what.iter().for_each(|what| record.expectations.declare(what.clone()));
    for text in lines {
        let origin = Origin::Kernel;
        record.line(&LogLine { stamp: Some(1_000_000), origin, text: (*text).into() });
    }
    record.reports.finish();
    record
}

fn log(record: CaseRecord, lines: &[&str]) -> CaseRecord {
    declared(record, &[], lines)
}

fn passed() -> CaseRecord {
    record(ProcessEnd::Code(0), None, PASSED)
}

fn message(text: &str) -> Expectation {
    Expectation::Message(text.into())
}

fn death(text: &str) -> Expectation {
    Expectation::Death(text.into())
}

const WARNING: &str = "WARNING: CPU: 0 PID: 9 at lib/x.c:3 f+0x1/0x2 [x]";
const PANIC: &str = "Kernel panic - not syncing: sysrq triggered crash";

#[test]
fn the_kernels_word_outranks_the_tests() {
    for end in [ProcessEnd::Code(0), ProcessEnd::Code(101), ProcessEnd::TimedOut] {
        let complained = log(
            record(end, None, PASSED),
            &["hello", WARNING, "Modules linked in: x", "BUG: more"],
        );
        assert_eq!(outcome(&complained, None).complaint(), Some("warning"));
    }
    let mut silent = passed();
    silent.exit.as_mut().unwrap().tainted = 1 << 9 | 1 << 12;
    assert_eq!(outcome(&silent, None).complaint(), Some("taint"));
    silent.exit.as_mut().unwrap().tainted = 1 << 12;
    assert_eq!(outcome(&silent, None), Outcome::Passed, "a module of ours is no fault");
}

#[test]
fn a_declaration_of_a_message_excuses_no_taint() {
    let mut tainted = declared(passed(), &[message("hello")], &["hello"]);
    tainted.exit.as_mut().unwrap().tainted = 1 << 9;
    assert_eq!(outcome(&tainted, None).complaint(), Some("taint"));
    let mut warned = declared(passed(), &[message("lib/x.c:3")], &[WARNING]);
    warned.exit.as_mut().unwrap().tainted = 1 << 9;
    assert_eq!(outcome(&warned, None), Outcome::Passed);
}

#[test]
fn lines_that_were_lost_are_no_pass() {
    let lost = CaseRecord { lost: 3, ..passed() };
    assert!(matches!(outcome(&lost, None), Outcome::Untrusted(_)));
    let complained = CaseRecord { lost: 3, ..log(passed(), &[WARNING]) };
    assert_eq!(outcome(&complained, None).complaint(), Some("warning"));
    let end = End::Panicked(PANIC.into());
    let died = declared(CaseRecord::default(), &[death("sysrq")], &[PANIC]);
    let died = CaseRecord { lost: 1, ..died };
    assert!(matches!(outcome(&died, Some(&end)), Outcome::Untrusted(_)));
}

#[test]
fn what_is_declared_is_no_failure_and_its_absence_is_one() {
    let of = |what, lines: &[&str]| outcome(&declared(passed(), &[what], lines), None);
    assert_eq!(of(message("lib/x.c:3"), &[WARNING]), Outcome::Passed);
    assert!(of(message("lib/x.c:3"), &["hello"]).is_failure());
    let other = of(message("lib/x.c:3"), &[WARNING, "BUG: other"]);
    assert_eq!(other.complaint(), Some("other-bug"), "one declared fault hides no other");
    assert!(of(death("panic"), &[]).is_failure());
    let skipped = record(ProcessEnd::Code(0), Some("no loop"), PASSED);
    let skipped = declared(skipped, &[message("lib/x.c:3")], &[]);
    assert!(outcome(&skipped, None).is_failure(), "a skip hides no absence");
}

#[test]
fn a_declared_death_has_to_be_the_one() {
    let end = End::Panicked(PANIC.into());
    let of = |what: &[Expectation], lines: &[&str], end: &End| {
        outcome(&declared(CaseRecord::default(), what, lines), Some(end))
    };
    assert_eq!(of(&[death("sysrq triggered")], &[PANIC], &end), Outcome::Passed);
    assert_eq!(of(&[death("soft lockup")], &[PANIC], &end).complaint(), Some("panic"));
    let first = of(&[death("sysrq triggered")], &[WARNING, "Call Trace:", PANIC], &end);
    assert_eq!(first.complaint(), Some("warning"), "what came first was not declared");
    let beside = [message("lib/x.c:3"), death("sysrq triggered")];
    assert!(of(&beside, &[PANIC], &end).is_failure(), "the other was absent");
    assert_eq!(of(&beside, &[WARNING, "Call Trace:", PANIC], &end), Outcome::Passed);
    let off = End::Lost("its process exited with 0".into());
    assert!(of(&[death("sysrq triggered")], &[PANIC, "reboot: Power down"], &off).is_failure());
    assert_eq!(of(&[death("Power down")], &["reboot: Power down"], &off), Outcome::Passed);
    let hung = End::Hung("it did not answer".into());
    assert!(of(&[death("Power down")], &["reboot: Power down"], &hung).is_failure());
}

#[test]
fn what_earlier_cases_loaded_is_said_beside_an_end_of_the_kernels() {
    let mut earlier = Vec::new();
    let mut loads = passed();
    loads.exit.as_mut().unwrap().loaded = vec!["fault".into()];
    let mut first = Verdict::of(loads, ASKED, Duration::ZERO, None);
    first.goes_after(&mut earlier, "faults a");
    assert_eq!(first.detail(), "");
    let end = End::Panicked(PANIC.into());
    let mut died =
        Verdict::of(log(CaseRecord::default(), &[PANIC]), ASKED, Duration::ZERO, Some(&end));
    died.goes_after(&mut earlier, "guide b");
    assert!(
        died.detail().ends_with("; earlier in this guest faults a loaded fault"),
        "{}",
        died.detail()
    );
    let failed = record(ProcessEnd::Code(101), None, "");
    let mut failed = Verdict::of(failed, ASKED, Duration::ZERO, None);
    failed.goes_after(&mut earlier, "guide c");
    assert_eq!(failed.detail(), "exit code 101", "a test's own failure has its own cause");
}

#[test]
fn a_guest_whose_detector_has_spoken_is_not_for_others() {
    let spoils = |record: CaseRecord| {
        let verdict = Verdict::of(record, ASKED, Duration::ZERO, None);
        assert_eq!(verdict.outcome, Outcome::Passed);
        verdict.spoils_guest()
    };
    assert!(!spoils(log(passed(), &["hello"])));
    assert!(spoils(declared(passed(), &[message("lib/x.c:3")], &[WARNING])));
    assert!(spoils(log(passed(), &["Disabling lock debugging due to kernel taint"])));
    for (tainted, spoilt) in [(1 << 12 | 1 << 13, false), (1, true), (1 << 6, true)] {
        let mut record = passed();
        record.exit.as_mut().unwrap().tainted = tainted;
        assert_eq!(spoils(record), spoilt, "{tainted}");
    }
}

#[test]
fn what_fails_because_something_was_made_to_fail_is_no_failure_and_a_complaint_is_one() {
    let inject = "failslab:1,1".parse().unwrap();
    let asked = Asked { injected: Some(&inject), ..ASKED };
    let of = |record: CaseRecord| Verdict::of(record, asked, Duration::ZERO, None);
    for end in [ProcessEnd::Code(101), ProcessEnd::Signal(6)] {
        assert_eq!(of(record(end, None, "")).outcome, Outcome::Passed);
    }
    assert_eq!(of(record(ProcessEnd::TimedOut, None, "")).outcome, Outcome::TimedOut);
    let mut complains = record(ProcessEnd::Code(101), None, "");
    for text in [
        "case: page allocation failure: order:0, mode:0x0",
        "FAULT_INJECTION: forcing a failure.",
        "name failslab, interval 7, probability 100, space 0, times -1",
        "BUG: something new",
    ] {
        let text = text.into();
        complains.begin_seen = true;
        complains.line(&LogLine { stamp: Some(1), origin: Origin::Kernel, text });
    }
    complains.reports.finish();
    let verdict = of(complains);
    assert!(matches!(verdict.outcome, Outcome::Kernel(_)));
    assert_eq!(verdict.detail(), "other-bug: BUG: something new; after an injected failslab");
}
