//! JUnit's XML, which CI systems show: a suite for each kernel and test binary.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::model::{Attempt, CaseResult};
use super::plain;
use super::read::RunReport;
use crate::record::CaseEnd;

/// The report of a run.
///
/// # Errors
/// When it cannot be made into XML.
pub(super) fn text(report: &RunReport) -> Result<String> {
    report_of(report).to_string().context("cannot make a report of JUnit's")
}

fn report_of(run: &RunReport) -> Report {
    let mut suites: BTreeMap<(&str, &str), TestSuite> = BTreeMap::new();
    for case in &run.cases {
        let (kernel, binary) = (case.id.kernel.as_str(), case.id.binary.as_str());
        let suite = suites
            .entry((kernel, binary))
            .or_insert_with(|| TestSuite::new(plain(&format!("{kernel} {binary}"))));
        suite.add_test_case(test_case(case));
    }
    let mut report = Report::new(run.run.id.as_str());
    report.add_test_suites(suites.into_values());
    let troubles = run.troubles();
    if !troubles.is_empty() {
        // A reader of JUnit alone must not take the run for a green one.
        let mut suite = TestSuite::new("run");
        for trouble in troubles {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(plain(&trouble.what));
            let mut case = TestCase::new(plain(&trouble.subject), status);
            case.set_classname("run");
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report
}

fn test_case(case: &CaseResult) -> TestCase {
    let last = case.last();
    let mut status = match last.end {
        CaseEnd::Passed => TestCaseStatus::success(),
        CaseEnd::Skipped | CaseEnd::Known | CaseEnd::NotRun => TestCaseStatus::skipped(),
        end => TestCaseStatus::non_success(kind(end)),
    };
    if last.end != CaseEnd::Passed {
        status.set_message(message(last));
        status.set_type(type_of(last));
    }
    let earlier = case.attempts.split_last().map_or(&[][..], |(_, earlier)| earlier);
    status.add_reruns(earlier.iter().filter(|attempt| attempt.end.is_failure()).map(rerun));
    let mut test = TestCase::new(plain(&case.name()), status);
    test.set_classname(plain(&format!("{} {}", case.id.kernel, case.id.binary)));
    test.set_time(duration(last));
    test.set_system_out(lines(&last.output.text));
    // The field's tools have a place for a second text only here.
    test.set_system_err(lines(&last.kernel_log.text));
    test
}

fn rerun(attempt: &Attempt) -> TestRerun {
    let mut rerun = TestRerun::new(kind(attempt.end));
    rerun
        .set_message(message(attempt))
        .set_type(type_of(attempt))
        .set_time(duration(attempt))
        .set_system_out(lines(&attempt.output.text))
        .set_system_err(lines(&attempt.kernel_log.text));
    rerun
}

fn kind(end: CaseEnd) -> NonSuccessKind {
    match end {
        CaseEnd::Failed | CaseEnd::Kernel | CaseEnd::TimedOut => NonSuccessKind::Failure,
        _ => NonSuccessKind::Error,
    }
}

fn message(attempt: &Attempt) -> String {
    let detail = plain(&attempt.detail);
    if detail.is_empty() { attempt.end.word().to_owned() } else { detail }
}

fn type_of(attempt: &Attempt) -> &str {
    attempt.complaint.as_deref().unwrap_or(attempt.end.word())
}

fn duration(attempt: &Attempt) -> Duration {
    Duration::try_from_secs_f64(attempt.seconds).unwrap_or_default()
}

fn lines(text: &str) -> String {
    text.lines().map(|line| plain(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::samples::{case, guest, sample};
    use super::*;

    #[test]
    fn each_end_has_its_place_and_guest_output_is_data() {
        let case = |name: &str, end: &str| {
            case("6.12", "ext4", name, end)
                .with("output", "<b>&]]>\u{1b}[31mred\u{0}\n")
                .with("kernel_log", vec!["[ 1.0] WARNING: x"])
        };
        let warning = "warning: WARNING: x";
        let sample = sample(&[
            case("a", "passed"),
            case("b", "kernel").with("detail", warning).with("complaint", "warning"),
            case("c", "hung").with("detail", "it did not answer"),
            case("d", "skipped").with("detail", "no loop"),
            case("e", "failed").with("detail", "exit code 101"),
            case("e", "passed").with("attempt", 2),
            guest("guest-6.12-2", "hung").with("detail", "it did not answer"),
        ]);
        let mut report = report_of(&sample.report);
        report.uuid = None;
        let text = report.to_string().unwrap();
        let shown: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("system-err") && !line.contains("</"))
            .collect();
        expect![[r#"
            <?xml version="1.0" encoding="UTF-8"?>
            <testsuites name="1700000000-0" tests="6" skipped="1" failures="1" errors="2">
                <testsuite name="6.12 ext4" tests="5" skipped="1" errors="1" failures="1">
                    <testcase name="a" classname="6.12 ext4" time="0.250">
                        <system-out>&lt;b&gt;&amp;]]&gt;red
                    <testcase name="b" classname="6.12 ext4" time="0.250">
                        <failure message="warning: WARNING: x" type="warning"/>
                        <system-out>&lt;b&gt;&amp;]]&gt;red
                    <testcase name="c" classname="6.12 ext4" time="0.250">
                        <error message="it did not answer" type="hung"/>
                        <system-out>&lt;b&gt;&amp;]]&gt;red
                    <testcase name="d" classname="6.12 ext4" time="0.250">
                        <skipped message="no loop" type="skipped"/>
                        <system-out>&lt;b&gt;&amp;]]&gt;red
                    <testcase name="e" classname="6.12 ext4" time="0.250">
                        <flakyFailure time="0.250" message="exit code 101" type="failed">
                            <system-out>&lt;b&gt;&amp;]]&gt;red
                        <system-out>&lt;b&gt;&amp;]]&gt;red
                <testsuite name="run" tests="1" skipped="0" errors="1" failures="0">
                    <testcase name="guest-6.12-2" classname="run">
                        <error message="hung: it did not answer; no case ran, and the last was: none"/>"#]].assert_eq(&shown.join("\n"));
    }
}
