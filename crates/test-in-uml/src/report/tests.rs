use super::*;

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
