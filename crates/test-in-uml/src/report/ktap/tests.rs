//! What is written, held against a strict reader of the format.

use expect_test::expect;
use proptest::prelude::*;

use super::super::samples::{HOSTILE, case, guest, kernel, sample};
use super::*;

/// Reads a level of the format, as strictly as `ktap.rst` speaks; gives the results of the leaves.
fn check<'a>(
    lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    depth: usize,
) -> Vec<String> {
    let indent = "  ".repeat(depth);
    let line =
        |line: &'a str| line.strip_prefix(indent.as_str()).unwrap_or_else(|| panic!("{line:?}"));
    assert_eq!(line(lines.next().unwrap()), "KTAP version 1");
    let mut header = None;
    if depth > 0 {
        header = line(lines.next().unwrap()).strip_prefix("# Subtest: ");
        assert!(header.is_some(), "a subtest has a name");
    }
    let plan: usize = line(lines.next().unwrap()).strip_prefix("1..").unwrap().parse().unwrap();
    let mut leaves = Vec::new();
    for number in 1..=plan {
        let deeper = format!("{indent}  KTAP version 1");
        let group = lines.peek().is_some_and(|next| *next == deeper);
        let below = if group { check(lines, depth + 1) } else { Vec::new() };
        while lines.peek().is_some_and(|next| line(next).starts_with("# ")) {
            assert!(!line(lines.next().unwrap()).starts_with("# Subtest: "));
        }
        let result = line(lines.next().unwrap());
        let (ok, rest) = result.strip_prefix("not ok ").map_or_else(
            || (true, result.strip_prefix("ok ").unwrap_or_else(|| panic!("{result:?}"))),
            |rest| (false, rest),
        );
        let name = rest.strip_prefix(&format!("{number} ")).unwrap_or_else(|| panic!("{result:?}"));
        if group {
            assert!(!ok || !below.iter().any(|leaf| leaf.starts_with("not ok")), "{result}");
            leaves.extend(below);
        } else {
            leaves.push(format!("{} {name}", if ok { "ok" } else { "not ok" }));
        }
    }
    assert!(header.is_none_or(|name| !name.contains('#')));
    leaves
}

fn leaves(text: &str) -> Vec<String> {
    let mut lines = text.lines().peekable();
    let leaves = check(&mut lines, 0);
    assert_eq!(lines.next(), None, "something follows the last result");
    leaves
}

// Longer than 60 lines: half of it is the text that is expected.
#[test]
fn a_run_reads_like_the_kernels_own() {
    let sample = sample(&[
        kernel("6.12"),
        case("6.12", "ext4", "acls", "passed"),
        case("6.12", "ext4", "quota", "skipped").with("detail", "no CONFIG_QUOTA"),
        case("6.12", "faults", "warn", "kernel")
            .with("detail", "warning: WARNING: at x.c:3")
            .with("complaint", "warning")
            .with("output", "testing\nok 1 all is well\n")
            .with("kernel_log", vec!["[ 1.0] WARNING: at x.c:3", "[ 1.1] reboot: System halted"])
            .with("left_behind", vec!["module fault (still loaded)"]),
        case("6.12", "faults", "flaky", "failed").with("detail", "exit code 101"),
        case("6.12", "faults", "flaky", "passed").with("attempt", 2),
        case("6.12", "faults", "slow", "timed-out").with("seconds", 60.0),
        case("6.12", "faults", "late", "not-run").with("detail", "interrupted"),
        case("3.0", "ext4", "acls", "skipped").with("detail", "no acls"),
        guest("guest-6.12-2", "hung").with("detail", "it did not answer"),
    ]);
    let text = text(&sample.report);
    expect![[r#"
        KTAP version 1
        1..3
          KTAP version 1
          # Subtest: 6.12
          1..2
            KTAP version 1
            # Subtest: ext4
            1..2
            ok 1 acls
            ok 2 quota # SKIP no CONFIG_QUOTA
          ok 1 ext4
            KTAP version 1
            # Subtest: faults
            1..4
            # kernel warning
            # output:
            # | testing
            # | ok 1 all is well
            # kernel log:
            # | [ 1.0] WARNING: at x.c:3
            # | [ 1.1] reboot: System halted
            # left behind: module fault (still loaded)
            not ok 1 warn # kernel: warning: WARNING: at x.c:3
            # attempt 1: failed
            ok 2 flaky
            # timed-out
            not ok 3 slow # TIMEOUT 60 seconds
            not ok 4 late # SKIP not run: interrupted
          not ok 2 faults
        not ok 1 6.12
          KTAP version 1
          # Subtest: 3.0
          1..1
            KTAP version 1
            # Subtest: ext4
            1..1
            ok 1 acls # SKIP no acls
          ok 1 ext4 # SKIP
        ok 2 3.0 # SKIP
          KTAP version 1
          # Subtest: run
          1..2
          not ok 1 guest-6.12-2 # ERROR hung: it did not answer; no case ran, and the last was: none
          not ok 2 6.12 # ERROR 1 case was not run: interrupted
        not ok 3 run
    "#]]
    .assert_eq(&text);
    assert_eq!(leaves(&text).len(), 9);
}

#[test]
fn a_case_may_have_the_name_of_its_binary() {
    let named = |kernel, binary, name| case(kernel, binary, name, "passed");
    let sample = sample(&[
        named("k", "b", "b"),
        named("k", "b", "c"),
        named("k", "k", "#"),
        guest("run", "lost"),
    ]);
    let text = text(&sample.report);
    for line in
        ["    ok 1 b itself", "  ok 1 b", "    # Subtest: k itself", "  not ok 1 run itself # "]
    {
        assert!(text.contains(&format!("\n{line}")), "{line}: {text}");
    }
}

#[test]
fn a_failure_cannot_call_itself_skipped() {
    let detail = |text: &str| {
        sample(&[case("k", "b", "n", "failed").with("detail", text).with("output", text)])
    };
    for text_of_guest in ["SKIP", "x # SKIP y", " # SKIP", HOSTILE] {
        let text = text(&detail(text_of_guest).report);
        assert!(!text.contains(" # SKIP"), "{text}");
        let leaf = leaves(&text).remove(0);
        assert!(leaf.starts_with("not ok n # failed: "), "{leaf}");
    }
}

proptest! {
    #[test]
    fn whatever_guests_write_is_read_as_it_was_meant(
        name in "\\PC{0,12}",
        text_of_guest in "(?s).{0,60}",
        words in proptest::sample::select(vec!["Subtest: x", "KTAP version 1", "1..7", "ok 1 x", "not ok 2", "reboot: System halted"]),
    ) {
        let all = format!("{words}\n{text_of_guest}\n{words}");
        let failed = case("k", "b", &name, "failed").with("detail", all.as_str()).with("output", all.as_str());
        let sample = sample(&[failed, case("k", "b", "good", "passed")]);
        let text = text(&sample.report);
        let leaves = leaves(&text);
        prop_assert_eq!(leaves.len(), 2);
        prop_assert!(leaves[0].starts_with("not ok "));
        prop_assert_eq!(&leaves[1], "ok good");
        prop_assert!(!text.contains("reboot: System halted"));
        prop_assert_eq!(text.matches("KTAP version 1").count(), 3);
    }
}
