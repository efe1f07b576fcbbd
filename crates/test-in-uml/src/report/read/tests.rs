use super::super::samples::{Line, case, run, sample};
use super::*;

fn error(lines: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(RunFiles::of(dir.path()).report_lines(), lines).unwrap();
    format!("{:#}", RunReport::read(dir.path()).unwrap_err())
}

#[test]
fn attempts_and_repetitions_find_together() {
    let sample = sample(&[
        case("6.12", "a", "one", "failed"),
        case("6.12", "a", "two", "passed"),
        case("6.12", "a", "one", "passed").with("attempt", 2).with("flaky", true),
        case("6.12", "a", "two", "failed").with("attempt", 1),
        case("6.12", "a", "three", "passed").with("repeat", 2),
        case("6.12", "a", "three", "hung").with("repeat", 1),
    ]);
    let seen: Vec<String> = sample
        .report
        .cases
        .iter()
        .map(|case| format!("{} {} {}", case.name(), case.attempts.len(), case.is_flaky()))
        .collect();
    let expected =
        ["one 2 true", "two 1 false", "two (2) 1 false", "three (2) 1 false", "three 1 false"];
    assert_eq!(seen, expected);
    assert_eq!(sample.report.tally().words(), "3 passed, 1 flaky, 2 failed");
}

#[test]
fn an_end_that_is_not_known_is_no_success() {
    let sample = sample(&[case("6.12", "a", "one", "teleported")]);
    assert!(!sample.report.is_success());
}

#[test]
fn a_run_that_was_cut_off_is_read_and_is_not_green() {
    let lines = format!("{}\n{}\n{{\"event\":\"ca", run(), case("k", "b", "n", "passed"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(RunFiles::of(dir.path()).report_lines(), lines).unwrap();
    let report = RunReport::read(dir.path()).unwrap();
    assert_eq!(report.tally().passed, 1);
    assert!(!report.is_success());
    assert!(report.troubles()[0].what.contains("cut off"));
}

#[test]
fn cases_that_were_not_run_make_a_run_red_by_their_number_and_reason() {
    let not_run = |kernel: &str, name: &str, why: &str| {
        case(kernel, "a", name, "not-run").with("detail", why)
    };
    let late = "the time of the run is over (--deadline)";
    let sample = sample(&[
        not_run("6.12", "one", late),
        not_run("6.12", "two", late),
        not_run("3.0", "one", "there was no guest for it"),
        not_run("3.0", "two", FAIL_FAST),
        Line::trouble("the guest guest-3.0-1 did not become ready in time"),
    ]);
    let troubles: Vec<String> = sample.report.troubles().iter().map(ToString::to_string).collect();
    assert_eq!(
        troubles,
        [
            "1700000000-0: the guest guest-3.0-1 did not become ready in time",
            "3.0: 1 case was not run: there was no guest for it",
            "6.12: 2 cases were not run: the time of the run is over (--deadline)",
        ]
    );
    assert!(!sample.report.is_success());
}

#[test]
fn long_output_is_shortened_and_can_be_had_whole() {
    let long = "x".repeat(100 << 10);
    let failed = case("k", "b", "n", "failed").with("output", long.as_str());
    let sample = sample(&[case("k", "b", "m", "passed"), failed]);
    let attempt = sample.report.cases[1].last();
    assert!(attempt.output.text.len() < FAILURE_LIMIT + 100 && attempt.output.left_out > 0);
    assert_eq!(sample.report.whole_texts(attempt).unwrap().0, long);
}

#[test]
fn what_is_no_report_is_refused() {
    let newer = r#"{"event":"run","version":2,"id":"x"}"#;
    assert!(error(&format!("{newer}\n")).contains("version 2 of the lines is not known"));
    assert!(error("").contains("no first line"));
    assert!(error("{\"event\":\"case\"}\n").contains("not about the run"));
    assert!(error("hello\n").contains("no line of a report"));
}
