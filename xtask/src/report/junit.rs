//! JUnit's XML, which CI systems show: a suite for each kernel and test binary.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::plain;
use super::record::CaseLine;

/// Writes the report of these cases.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(path: &Path, run: &str, cases: &[CaseLine]) -> Result<()> {
    let text = report(run, cases).to_string().context("cannot make a report of JUnit's")?;
    let partial = path.with_extension("xml.partial");
    std::fs::write(&partial, text)
        .and_then(|()| std::fs::rename(&partial, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn report(run: &str, cases: &[CaseLine]) -> Report {
    let mut suites: BTreeMap<(&str, &str), TestSuite> = BTreeMap::new();
    for case in cases {
        let suite = suites
            .entry((&case.kernel, &case.binary))
            .or_insert_with(|| TestSuite::new(format!("{} {}", case.kernel, case.binary)));
        suite.add_test_case(test_case(case));
    }
    let mut report = Report::new(run);
    report.add_test_suites(suites.into_values());
    report
}

fn test_case(case: &CaseLine) -> TestCase {
    let detail = plain(&case.detail);
    let mut status = match case.end {
        "passed" => TestCaseStatus::success(),
        "skipped" | "not-run" => TestCaseStatus::skipped(),
        "failed" | "kernel" | "timed-out" => TestCaseStatus::non_success(NonSuccessKind::Failure),
        _ => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if case.end != "passed" {
        status.set_message(if detail.is_empty() { case.end.to_owned() } else { detail });
        status.set_type(case.complaint.unwrap_or(case.end));
    }
    let mut test = TestCase::new(case.name.as_str(), status);
    test.set_classname(format!("{} {}", case.kernel, case.binary));
    test.set_time(Duration::from_secs_f64(case.seconds));
    test.set_system_out(lines(case.output.lines()));
    // The field's tools have a place for a second text only here.
    test.set_system_err(lines(case.kernel_log.iter().map(String::as_str)));
    test
}

fn lines<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.map(|line| plain(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn each_end_has_its_place_and_guest_output_is_data() {
        let case = |name: &str, end, detail: &str, complaint| CaseLine {
            kernel: "6.12".into(),
            guest: Some("guest-6.12-1".into()),
            order: Some(1),
            repeat: 1,
            attempt: 1,
            flaky: false,
            started: 0.5,
            binary: "ext4".into(),
            name: name.into(),
            end,
            detail: detail.into(),
            complaint,
            seconds: 0.25,
            output: "<b>&]]>\u{1b}[31mred\u{0}\n".into(),
            kernel_log: vec!["[ 1.0] WARNING: x".into()],
            left_behind: Vec::new(),
        };
        let cases = [
            case("a", "passed", "", None),
            case("b", "kernel", "warning: WARNING: x", Some("warning")),
            case("c", "hung", "it did not answer", None),
            case("d", "skipped", "no loop", None),
        ];
        let mut report = report("run", &cases);
        report.uuid = None;
        let text = report.to_string().unwrap();
        let shown: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("system-err") && !line.contains("</"))
            .collect();
        expect![[r#"
            <?xml version="1.0" encoding="UTF-8"?>
            <testsuites name="run" tests="4" skipped="1" failures="1" errors="1">
                <testsuite name="6.12 ext4" tests="4" skipped="1" errors="1" failures="1">
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
                        <system-out>&lt;b&gt;&amp;]]&gt;red"#]]
        .assert_eq(&shown.join("\n"));
    }
}
