use expect_test::expect;

use super::*;

fn case(end: CaseEnd, detail: &str) -> CaseLine {
    CaseLine {
        kernel: "6.12".into(),
        guest: None,
        order: None,
        binary: "ext4".into(),
        name: "acls".into(),
        repeat: Some(1),
        attempt: Some(1),
        flaky: false,
        started: None,
        end,
        detail: detail.into(),
        complaint: None,
        seconds: 1.234,
        output: String::new(),
        kernel_log: Vec::new(),
        left_behind: Vec::new(),
        scenario: Default::default(),
    }
}

#[test]
fn lines_read_like_nextests() {
    let lines: Vec<String> = [
        case(CaseEnd::Passed, ""),
        case(CaseEnd::Skipped, "no loop"),
        case(CaseEnd::Panicked, "Kernel panic - not syncing: \u{1b}[31mred"),
        CaseLine { repeat: Some(2), ..case(CaseEnd::Passed, "") },
    ]
    .iter()
    .map(|case| case_line(&format!("{:>12}", case.end.label()), case))
    .collect();
    expect![[r#"
        "        PASS [   1.234s] 6.12 ext4 acls"
        "        SKIP [   1.234s] 6.12 ext4 acls: no loop"
        "       PANIC [   1.234s] 6.12 ext4 acls: Kernel panic - not syncing: red"
        "        PASS [   1.234s] 6.12 ext4 acls #2"
    "#]]
    .assert_eq(&lines.iter().map(|line| format!("{line:?}\n")).collect::<String>());
}

#[test]
fn guest_output_cannot_command_whoever_reads_it() {
    let mut failed = case(CaseEnd::Failed, "exit code 101");
    failed.output = "::error::no\n\x1b[2J\x1b]0;title\x07x\u{fffd}\r\n#\x1b[31m#[error]no".into();
    failed.kernel_log = vec!["[  0.1] WARNING".into()];
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
    let mut failed = case(CaseEnd::Failed, "exit code 101");
    failed.output = (0..10_000).map(|number| format!("line {number}\n")).collect();
    let lines = evidence(&failed);
    assert_eq!(lines.len(), 1 + SHOWN[0] + 1 + SHOWN[1]);
    assert_eq!((&*lines[1], &*lines[lines.len() - 1]), ("  | line 0", "  | line 9999"));
    assert_eq!(lines[1 + SHOWN[0]], "  (9700 lines are in the report alone)");
}

#[test]
fn the_summary_counts_every_case() {
    let tally = Tally { passed: 3, flaky: 1, failed: 2, skipped: 1, known: 1, not_run: 1 };
    let line = summary_line("     Summary", &tally, Duration::from_secs(2));
    expect![
        "     Summary [   2.00s] 7 cases run: 3 passed (1 flaky), 2 failed, 1 skipped, 1 failed as known, 1 not run"
    ]
    .assert_eq(&line);
}
