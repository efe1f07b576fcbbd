use expect_test::expect;

use super::*;

fn verdict(outcome: Outcome) -> Verdict {
    Verdict { outcome, duration: Duration::from_millis(1234), ..Verdict::not_run("") }
}

#[test]
fn lines_read_like_nextests() {
    let panic = End::Panicked("Kernel panic - not syncing: \u{1b}[31mred".into());
    let lines: Vec<String> = [
        verdict(Outcome::Passed),
        verdict(Outcome::Skipped("no loop".into())),
        verdict(Outcome::Died { end: panic, complaint: None }),
    ]
    .iter()
    .map(|verdict| case_line(&format!("{:>12}", verdict.outcome.word()), "6.12 ext4 acls", verdict))
    .collect();
    expect![[r#"
        "        PASS [   1.234s] 6.12 ext4 acls"
        "        SKIP [   1.234s] 6.12 ext4 acls: no loop"
        "       PANIC [   1.234s] 6.12 ext4 acls: Kernel panic - not syncing: red"
    "#]]
    .assert_eq(&lines.iter().map(|line| format!("{line:?}\n")).collect::<String>());
}

#[test]
fn guest_output_cannot_command_whoever_reads_it() {
    let mut failed = verdict(Outcome::Failed("exit code 101".into()));
    failed.output = b"::error::no\n\x1b[2J\x1b]0;title\x07x\xff\r\n#\x1b[31m#[error]no".to_vec();
    failed.log = vec!["[  0.1] WARNING".into()];
    expect![[r#"
        "  output:"
        "  | ::error::no"
        "  | x�"
        "  | #�#[error]no"
        "  kernel log:"
        "  | [  0.1] WARNING"
    "#]]
    .assert_eq(&evidence(&failed).iter().map(|line| format!("{line:?}\n")).collect::<String>());
}

#[test]
fn a_flood_does_not_scroll_everything_else_away() {
    let mut failed = verdict(Outcome::Failed("exit code 101".into()));
    failed.output = (0..10_000).map(|number| format!("line {number}\n")).collect::<String>().into();
    let lines = evidence(&failed);
    assert_eq!(lines.len(), 1 + SHOWN[0] + 1 + SHOWN[1]);
    assert_eq!((&*lines[1], &*lines[lines.len() - 1]), ("  | line 0", "  | line 9999"));
    assert_eq!(lines[1 + SHOWN[0]], "  (9700 lines are in the report alone)");
}

#[test]
fn the_summary_counts_every_case() {
    let tally = Tally { passed: 3, flaky: 1, failed: 2, skipped: 1, not_run: 1 };
    let line = summary_line("     Summary", &tally, Duration::from_secs(2));
    expect![
        "     Summary [   2.00s] 6 cases run: 3 passed (1 flaky), 2 failed, 1 skipped, 1 not run"
    ]
    .assert_eq(&line);
}

/// How many tests failed, as `kunit_parser.py` of the kernel counts: the lines of those without subtests.
fn failures_in_ktap(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let has_subtests = |number: usize| {
        let depth = |line: &str| line.len() - line.trim_start().len();
        number > 0 && depth(lines[number - 1]) > depth(lines[number])
    };
    (0..lines.len())
        .filter(|number| lines[*number].trim_start().starts_with("not ok "))
        .filter(|number| !lines[*number].contains(" # SKIP") && !has_subtests(*number))
        .count()
}

#[test]
fn no_report_is_greener_than_the_run() {
    use super::samples::{Line, case, guest, kernel, run, sample, sample_of, summary};
    let not_run = |why: &str| case("k", "b", "n", "not-run").with("detail", why);
    let passed = || case("k", "b", "m", "passed");
    let with = |lines: &[Line]| sample(&[&[kernel("k"), passed()], lines].concat());
    let red = [
        ("no guest", with(&[not_run("there was no guest for it")])),
        ("a deadline", with(&[not_run("the time of the run is over (--deadline)")])),
        ("interrupted", with(&[not_run("interrupted")])),
        ("a kernel that does not build", sample(&[Line::trouble("make failed")])),
        ("a guest that died", with(&[guest("g", "panicked").with("detail", "x")])),
        ("a stray", with(&[guest("g", "clean").with("strays", vec!["warning: x"])])),
        ("a failure", with(&[case("k", "b", "n", "failed")])),
        ("a later word", with(&[case("k", "b", "n", "teleported")])),
        ("cut off", sample_of(&[run(), kernel("k"), passed()])),
    ];
    for (what, sample) in &red {
        let report = &sample.report;
        assert!(!report.is_success(), "{what}");
        let xml = junit::text(report).unwrap();
        let totals = xml.lines().find(|line| line.contains("<testsuites")).unwrap();
        assert!(!totals.contains("failures=\"0\" errors=\"0\""), "{what}: {totals}");
        let ktap = ktap::text(report);
        assert!(failures_in_ktap(&ktap) > 0, "{what}: {ktap}");
        assert!(github::annotations(report).contains("::error "), "{what}");
    }
    let green = sample_of(&[run(), kernel("k"), passed(), summary()]);
    assert!(green.report.is_success());
    assert_eq!(failures_in_ktap(&ktap::text(&green.report)), 0);
    assert_eq!(github::annotations(&green.report), "");
}

#[test]
fn a_report_is_xml_and_its_files_have_names_whatever_a_case_is_called_and_says() {
    use super::samples::{case, sample};
    let odd: String =
        "n\u{fffe}\u{ffff}\u{1}\u{0}&<]]>".chars().chain("x".repeat(400).chars()).collect();
    let long = "y\u{ffff}".repeat(60 << 10);
    let case = case("k", "b", &odd, "failed").with("detail", odd.as_str()).with("output", long);
    let sample = sample(&[case]);
    write_all(&sample.report, None).unwrap();
    let xml = std::fs::read_to_string(file_of(&sample.report.folder, Format::Junit)).unwrap();
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    assert!(xml.chars().all(allowed));
    let names = std::fs::read_dir(&sample.report.folder).unwrap();
    assert!(names.flatten().any(|file| file.file_name().to_string_lossy().starts_with("case-")));
}
