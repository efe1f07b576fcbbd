use expect_test::expect;
use proptest::prelude::*;

use super::super::compare::compare;
use super::super::samples::{HOSTILE, Sample, case, guest, kernel, sample};
use super::*;

fn red() -> Sample {
    sample(&[
        kernel("6.12"),
        case("6.12", "ext4", "acls", "passed"),
        case("6.12", "ext4", "quota", "failed").with("detail", "exit code 101").with(
            "output",
            "\nthread 'quota' (7) panicked at guest-tests/tests/ext4.rs:12:5:\n100% wrong, a:b\n",
        ),
        case("6.12", "faults", "warn", "kernel")
            .with("detail", "warning: WARNING: at x.c:3 <b>|x|</b> @all #1 `*_")
            .with("kernel_log", vec!["[ 1.0] WARNING: at x.c:3 </pre>"]),
        case("6.12", "net", "ping", "hung").with("detail", "it did not answer"),
        case("6.12", "net", "ping", "passed").with("attempt", 2),
        guest("guest-6.12-2", "hung").with("detail", "it did not answer"),
    ])
}

#[test]
fn failures_are_annotated_where_they_happened() {
    expect![[r#"
        ::error title=guest-6.12-2::hung: it did not answer; no case ran, and the last was: none
        ::error title=6.12 ext4 quota,file=guest-tests/tests/ext4.rs,line=12::failed: exit code 101%0Aoutput:%0A| %0A| thread 'quota' (7) panicked at guest-tests/tests/ext4.rs:12:5:%0A| 100%25 wrong, a:b
        ::error title=6.12 faults warn::kernel: warning: WARNING: at x.c:3 <b>|x|</b> @all #1 `*_%0Akernel log:%0A| [ 1.0] WARNING: at x.c:3 </pre>
        ::warning title=6.12 net ping::flaky; it passed after it had failed: hung: it did not answer
    "#]].assert_eq(&annotations(&red().report));
}

#[test]
fn the_summary_shows_what_failed() {
    let (red, before) = (red(), sample(&[case("6.12", "ext4", "quota", "passed")]));
    let comparison = compare(&before.report, &red.report);
    expect![[r#"
        ## ❌ 2 passed, 1 flaky, 2 failed in 12.5 s

        | Kernel | Release | Passed | Flaky | Failed | Skipped | Known | Not run |
        |---|---|--:|--:|--:|--:|--:|--:|
        | 6.12 | 6.12.1 | 2 | 1 | 2 | 0 | 0 | 0 |

        ### Beside the cases

        - guest-6.12-2&#58; hung&#58; it did not answer&#59; no case ran, and the last was&#58; none

        ### Against run 1700000000-0&#58; 2 newly failing, 1 beside the cases, 1 cases in both

        ### Newly failing

        - 6.12 ext4 quota&#58; passed before, now failed&#58; exit code 101
        - 6.12 faults warn&#58; not there before, now kernel&#58; warning&#58; WARNING&#58; at x.c&#58;3 &#60;b&#62;&#124;x&#124;&#60;/b&#62; &#64;all &#35;1 &#96;&#42;&#95;

        ### Flaky

        - 6.12 net ping

        <details><summary>6.12 ext4 quota — failed&#58; exit code 101</summary>

        Output:

        <pre>
        | 
        | thread &#39;quota&#39; (7) panicked at guest-tests/tests/ext4.rs:12:5:
        | 100% wrong, a:b
        </pre>

        </details>

        <details><summary>6.12 faults warn — kernel&#58; warning&#58; WARNING&#58; at x.c&#58;3 &#60;b&#62;&#124;x&#124;&#60;/b&#62; &#64;all &#35;1 &#96;&#42;&#95;</summary>

        Kernel log:

        <pre>
        | [ 1.0] WARNING: at x.c:3 &lt;/pre&gt;
        </pre>

        </details>

    "#]].assert_eq(&job_summary(&red.report, Some(&comparison), SUMMARY_LIMIT));
}

#[test]
fn only_a_runner_of_github_is_told() {
    let vars = |actions: &'static str| {
        move |name: &str| match name {
            "GITHUB_ACTIONS" => Some(OsString::from(actions)),
            "GITHUB_STEP_SUMMARY" => Some("/summary".into()),
            _ => None,
        }
    };
    assert!(Runner::found(|_| None).is_none());
    assert!(Runner::found(vars("false")).is_none());
    assert_eq!(Runner::found(vars("true")).unwrap().summary.unwrap().to_str(), Some("/summary"));
}

#[test]
fn the_summary_is_added_to_what_is_there_and_never_grows_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("summary");
    fs::write(&path, "before\n").unwrap();
    let long = "<".repeat(32 << 10);
    let lines: Vec<_> = (0..60)
        .map(|number| case("k", "b", &format!("n{number}"), "failed").with("output", long.as_str()))
        .collect();
    let sample = sample(&lines);
    let runner = Runner { summary: Some(path.clone()) };
    for _ in 0..2 {
        let mut said = Vec::new();
        runner.tell(&sample.report, None, &mut said).unwrap();
        assert_eq!(String::from_utf8(said).unwrap().lines().count(), ANNOTATIONS);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("before\n## ❌ 0 passed, 60 failed"));
        assert!(text.len() <= SUMMARY_LIMIT && text.contains("more did not fit here"));
    }
}

#[test]
fn only_files_of_a_checkout_are_annotated() {
    let at =
        |path: &str| place(&format!("panicked at {path}\nmore")).map(|(file, _)| file.to_owned());
    assert_eq!(at("tests/a.rs:1:2:"), Some("tests/a.rs".into()));
    for outside in ["/etc/a.rs:1:2:", "../a.rs:1:2", "a b.rs:1:2", "a.rs", "a.rs:x:1", "a.txt:1:1"]
    {
        assert_eq!(at(outside), None, "{outside}");
    }
}

#[test]
fn an_annotation_begins_with_what_the_kernel_complained_of() {
    let trace: Vec<String> =
        (0..30).map(|number| format!("[ 1.0]  [<{number}>] f+0x1/0x2")).collect();
    let mut log: Vec<&str> = trace.iter().map(String::as_str).collect();
    log.insert(10, "[    1.0] WARNING: CPU: 0 at x.c:3");
    let shown = telling(&log, "warning: WARNING: CPU: 0 at x.c:3");
    assert_eq!((shown[0], shown.len()), (log[10], LINES));
    assert_eq!(telling(&log, "exit code 101").last(), log.last());
}

/// Returns true if the runner would obey the line (`ActionCommand.TryParse` and `TryParseV2`).
fn is_command(line: &str) -> bool {
    line.trim_start().starts_with("::") || line.contains("##[")
}

#[test]
fn the_check_knows_a_command() {
    assert!(is_command(" ::error::x") && is_command("x ##[error]y") && !is_command("| ::error::x"));
}

proptest! {
    #[test]
    fn nothing_of_a_guest_is_a_command(
        words in proptest::collection::vec(
            proptest::sample::select(vec!["::error::x", "##[add-mask]x", "##", "[", "\n", "\r", "\u{85}", "\u{2028}", " ", "%0A", "</pre>", "\u{1b}[0m", "#\u{1b}[0m#[group]", "\u{0}"]),
            0..12,
        ),
    ) {
        let text = words.concat();
        let sample = sample(&[
            case("k", "b", &text, "failed").with("detail", text.as_str()).with("output", format!("{text}{HOSTILE}").as_str())
                .with("kernel_log", vec![text.as_str(), HOSTILE]).with("left_behind", vec![text.as_str()]),
            case(&text, &text, "skipped", "skipped").with("detail", text.as_str()),
            guest(&text, "lost").with("detail", text.as_str()).with("strays", vec![text.as_str()]),
        ]);
        let report = &sample.report;
        let comparison = compare(report, report);
        let own = annotations(report);
        prop_assert_eq!(own.lines().count(), 3);
        for line in own.split(['\n', '\r', '\u{85}', '\u{2028}']).filter(|line| !line.is_empty()) {
            prop_assert!(line.starts_with("::error title="), "{:?}", line);
            prop_assert!(!line.contains("##["), "{:?}", line);
        }
        let others = [
            job_summary(report, Some(&comparison), SUMMARY_LIMIT),
            super::super::ktap::text(report),
            comparison.lines().join("\n"),
        ];
        for line in others.iter().flat_map(|text| text.split(['\n', '\r', '\u{85}', '\u{2028}'])) {
            prop_assert!(!is_command(line), "{:?}", line);
        }
    }
}
