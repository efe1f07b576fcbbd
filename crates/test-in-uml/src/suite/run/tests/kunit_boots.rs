//! Unit tests of a kernel, which run while a guest of their own boots.

use super::*;

const TESTS: [&str; 4] = ["kunit s.a", "kunit s.warns", "kunit s.panics", "kunit s.z"];

/// A suite whose third test panics.
fn suite(glob: &str) -> &'static str {
    match glob {
        "s" => {
            "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..4\n    ok 1 a\n\
             WARNING: CPU: 0 PID: 9 at mm/slub.c:1 kfree+0x1/0x2\n    ok 2 warns\n\
             Kernel panic - not syncing: by a test\n"
        }
        "s.z" => "    # Subtest: s\n    1..1\n    ok 1 z # SKIP not here\nok 1 s\n",
        "s.a" => "    # Subtest: s\n    1..1\n    ok 1 a\nok 1 s\n",
        "s.panics" => "    # Subtest: s\nKernel panic - not syncing: alone\n",
        _ => "    # Subtest: s\n    1..1\n    ok 1 warns\nok 1 s\n",
    }
}

fn host() -> FakeHost {
    FakeHost::new(by_name).with_unit_tests(suite)
}

#[test]
fn a_panic_costs_one_test_and_a_guest() {
    let host = host();
    let (finished, told) = Run::of(&TESTS).on(&host);
    assert_eq!(
        told.ends(),
        [
            ("s.a", CaseEnd::Passed),
            ("s.panics", CaseEnd::Panicked),
            ("s.warns", CaseEnd::Kernel),
            ("s.z", CaseEnd::Skipped),
        ]
    );
    assert_eq!(told.guest_ends(), [GuestEnd::BootFailed, GuestEnd::Clean]);
    assert!(!finished.guests_failed && finished.broken.is_empty());
    let orders: Vec<_> =
        ["s.a", "s.warns", "s.panics", "s.z"].map(|name| told.case(name).order.unwrap()).into();
    assert_eq!(orders, [1, 2, 3, 1]);
    assert_eq!(told.case("s.z").detail, "not here");
    assert!(told.case("s.panics").detail.contains("by a test"));
    let log = &told.case("s.warns").kernel_log;
    assert!(log[0].contains("WARNING") && log.len() == 2, "{log:?}");
}

#[test]
fn what_failed_is_tried_again_alone() {
    let host = host();
    let (finished, told) = Run { retries: 1, ..Run::of(&TESTS) }.on(&host);
    assert!(told.case("s.warns").flaky);
    assert_eq!(told.case("s.panics").end, CaseEnd::Panicked);
    assert_eq!(told.case("s.panics").attempt, Some(2));
    assert_eq!((told.again.len(), host.started()), (2, 4));
    assert_eq!((finished.tally.flaky, finished.tally.failed), (1, 1));
}

#[test]
fn what_was_not_reached_is_not_run_where_a_failure_stops_the_run() {
    let run = Run { after_failure: AfterFailure::Stop, ..Run::of(&TESTS) };
    let (_, told) = run.on(&host());
    assert_eq!(told.case("s.z").end, CaseEnd::NotRun);
    assert_eq!(told.case("s.z").detail, FAIL_FAST);
}

#[test]
fn of_a_suite_that_is_run_for_some_of_its_tests_these_alone_have_a_verdict() {
    // Its panic is of none of them.
    let (finished, told) = Run::of(&[TESTS[0], TESTS[1]]).on(&host());
    assert_eq!(told.ends(), [("s.a", CaseEnd::Passed), ("s.warns", CaseEnd::Kernel)]);
    assert!(!finished.guests_failed);
}

#[test]
fn a_guest_that_does_not_come_as_far_as_the_tests_is_no_fault_of_theirs() {
    let (finished, told) = Run::of(&TESTS[..2]).on(&host().booting(|_| false));
    assert_eq!(told.ends(), [("s.a", CaseEnd::NotRun), ("s.warns", CaseEnd::NotRun)]);
    assert!(format!("{:#}", finished.broken[0]).contains("No working init found"));
}

#[test]
fn a_test_that_is_not_there_any_more_has_failed() {
    let host = FakeHost::new(by_name).with_unit_tests(|_| "KTAP version 1\n1..0\n");
    let (_, told) = Run::of(&TESTS[..1]).on(&host);
    assert_eq!(told.case("s.a").end, CaseEnd::Failed);
    assert_eq!(told.case("s.a").detail, "its kernel ran no such suite");
}
