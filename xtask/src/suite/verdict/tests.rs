use guest_agent::wire::Stream;

use super::*;
use crate::guest::Output;

const PASSED: &str = "\nrunning 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed\n";

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
            tainted: 0,
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
    let mut unclosed = record(ProcessEnd::Code(0), None, PASSED);
    unclosed.end_seen = false;
    let died = Outcome::Died { end: panic.clone(), complaint: None };
    assert_eq!(outcome(&unclosed, Some(&panic)), died);
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
    assert_eq!(Verdict::of(CaseRecord::default(), took, Some(&end)).duration, took);
    let told = record(ProcessEnd::Code(0), None, PASSED);
    assert_eq!(Verdict::of(told, took, None).duration, Duration::ZERO);
}

#[test]
fn a_guest_that_is_not_what_it_was_is_not_for_others() {
    let after = |leftover: Leftover| {
        let mut record = record(ProcessEnd::Code(0), None, PASSED);
        record.exit.as_mut().unwrap().leftovers.push(leftover);
        let verdict = Verdict::of(record, Duration::ZERO, None);
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
    ] {
        assert!(after(spoilt));
    }
    for ended in [Leftover::Process(place()), Leftover::Mount(place()), Leftover::Clock(1)] {
        assert!(!after(ended));
    }
}

fn log(record: CaseRecord, lines: &[&str]) -> CaseRecord {
    let log = lines.iter().map(|line| format!("[    1.000000] {line}")).collect();
    CaseRecord { log, ..record }
}

const WARNING: &str = "WARNING: CPU: 0 PID: 9 at lib/x.c:3 f+0x1/0x2 [x]";

#[test]
fn the_kernels_word_outranks_the_tests() {
    for end in [ProcessEnd::Code(0), ProcessEnd::Code(101), ProcessEnd::TimedOut] {
        let complained = log(
            record(end, None, PASSED),
            &["hello", WARNING, "Modules linked in: x", "BUG: more"],
        );
        assert_eq!(outcome(&complained, None).complaint(), Some("warning"));
    }
    let mut silent = record(ProcessEnd::Code(0), None, PASSED);
    silent.exit.as_mut().unwrap().tainted = 1 << 9 | 1 << 12;
    assert_eq!(outcome(&silent, None).complaint(), Some("taint"));
    silent.exit.as_mut().unwrap().tainted = 1 << 12;
    assert_eq!(outcome(&silent, None), Outcome::Passed, "a module of ours is no fault");
}

#[test]
fn what_is_declared_is_no_failure_and_its_absence_is_one() {
    let declare = |mut record: CaseRecord, what: Expectation| {
        record.expectations.push(what);
        outcome(&record, None)
    };
    let passed = || record(ProcessEnd::Code(0), None, PASSED);
    let message = |text: &str| Expectation::Message(text.into());
    assert_eq!(declare(log(passed(), &[WARNING]), message("lib/x.c:3")), Outcome::Passed);
    assert!(declare(log(passed(), &["hello"]), message("lib/x.c:3")).is_failure());
    let other = declare(log(passed(), &[WARNING, "BUG: other"]), message("lib/x.c:3"));
    assert_eq!(other.complaint(), Some("other-bug"), "one declared fault hides no other");
    assert!(declare(passed(), Expectation::Death("panic".into())).is_failure());
}

#[test]
fn a_declared_death_has_to_be_the_one() {
    let line = "Kernel panic - not syncing: sysrq triggered crash";
    let end = End::Panicked(line.into());
    let mut died = log(CaseRecord::default(), &[line]);
    died.expectations.push(Expectation::Death("sysrq triggered".into()));
    assert_eq!(outcome(&died, Some(&end)), Outcome::Passed);
    died.expectations = vec![Expectation::Death("soft lockup".into())];
    assert_eq!(outcome(&died, Some(&end)).complaint(), Some("panic"));
}
