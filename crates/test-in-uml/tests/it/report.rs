use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::xtask;

fn case(name: &str, end: &str, output: &str) -> Value {
    json!({
        "event": "case", "kernel": "6.12", "guest": "guest-6.12-1", "binary": "b", "name": name,
        "end": end, "detail": "", "complaint": null, "seconds": 0.1, "output": output,
        "kernel_log": ["[ 1.0] reboot: System halted"], "left_behind": [],
    })
}

fn run(partition: &str, cases: &[Value]) -> TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let first = json!({
        "event": "run", "version": 1, "id": "1700000000-0", "host_kernel": "", "host_cpu": "",
        "partition": partition,
    });
    let last = json!({"event": "summary", "seconds": 1.0});
    let lines = [&[first], cases, &[last]].concat();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(dir.path().join("report.jsonl"), text).unwrap();
    dir
}

fn report(args: &[&str], paths: &[&Path]) -> Output {
    let mut command = xtask();
    command.arg("report").args(args).args(paths);
    command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY").output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn each_format_is_laid_into_the_folder_of_the_run() {
    let run = run("slice:1/1", &[case("n", "passed", "")]);
    for (format, file, begin) in [
        ("html", "report.html", "<!DOCTYPE html>"),
        ("ktap", "report.ktap", "KTAP version 1\n"),
        ("junit", "junit.xml", "<?xml "),
    ] {
        let output = report(&[format], &[run.path()]);
        let path = run.path().join(file);
        assert_eq!(text(output.stdout), format!("{}\n", path.display()));
        assert!(fs::read_to_string(path).unwrap().starts_with(begin));
    }
    let there = text(report(&["ktap", "-o", "-"], &[run.path()]).stdout);
    assert!(there.contains("ok 1 n\n"), "{there}");
}

#[test]
fn a_run_that_is_not_there_is_named_with_those_that_are() {
    let output = report(&["html", "no-such-run"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(output.stderr);
    assert!(error.contains("no run `no-such-run`") && error.contains("latest"), "{error}");
}

#[test]
fn what_newly_fails_is_told_by_the_exit_code() {
    let (good, bad) = (run("", &[case("n", "passed", "")]), run("", &[case("n", "failed", "")]));
    let broke = report(&["compare"], &[good.path(), bad.path()]);
    assert_eq!(broke.status.code(), Some(100));
    assert!(text(broke.stdout).contains("NEWLY FAILS 6.12 b n: passed before, now failed"));
    let mended = report(&["compare", "--format", "json"], &[bad.path(), good.path()]);
    assert_eq!(mended.status.code(), Some(0));
    let json: Value = serde_json::from_slice(&mended.stdout).unwrap();
    assert_eq!(json["fixed"][0]["name"], "n");
    let page = report(&["compare", "--format", "html"], &[good.path(), bad.path()]);
    assert!(text(page.stdout).contains("newly_failing"));
}

#[test]
fn shards_are_merged_into_a_report_with_all_formats() {
    let one = run("slice:1/2", &[case("one", "passed", "")]);
    let two = run("slice:2/2", &[case("two", "passed", "")]);
    let into = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = into.path().to_str().unwrap();
    let whole = report(&["merge", "-o", folder], &[one.path(), two.path()]);
    assert_eq!(whole.status.code(), Some(0), "{}", text(whole.stderr));
    for file in ["report.jsonl", "report.html", "report.ktap", "junit.xml"] {
        assert!(into.path().join(file).is_file(), "{file}");
    }
    let part = report(&["merge", "-o", folder], &[one.path()]);
    assert_eq!(part.status.code(), Some(100));
    assert!(text(part.stderr).contains("slice:2/2: this part of the cases is in none"));
    let twice = report(&["merge", "-o", folder], &[one.path(), one.path()]);
    assert_eq!(twice.status.code(), Some(96));
}

#[test]
fn github_is_told_only_where_its_runner_is() {
    let run = run("", &[case("n", "failed", "::error::not mine\n")]);
    let summary = run.path().join("summary.md");
    let elsewhere = report(&["github"], &[run.path()]);
    assert_eq!((elsewhere.status.code(), elsewhere.stdout), (Some(2), Vec::new()));
    let mut command = xtask();
    command.args(["report", "github"]).arg(run.path());
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary);
    let said = text(command.output().unwrap().stdout);
    assert!(said.starts_with("::error title=6.12 b n::failed"), "{said}");
    assert_eq!(said.lines().count(), 1);
    assert!(fs::read_to_string(summary).unwrap().contains("| ::error::not mine"));
}

/// The kernel's own parsers, of each kernel tree with one that is unpacked here.
fn kunit() -> Vec<PathBuf> {
    let kernels = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../uml/kernels");
    let trees = fs::read_dir(kernels).into_iter().flatten().flatten();
    let tools = trees.map(|kernel| kernel.path().join("src/tools/testing/kunit"));
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    tools.filter(|tools| has_python && tools.join("kunit_parser.py").is_file()).collect()
}

/// The number of tests a parser counts as passed, failed, skipped, crashed, and how many errors.
fn counts(tools: &Path, ktap: &[u8]) -> String {
    // Later ones are told where to print.
    let script = "import inspect, sys, kunit_parser, kunit_printer\n\
        parse, lines = kunit_parser.parse_run_tests, sys.stdin.read().splitlines()\n\
        told = len(inspect.signature(parse).parameters) > 1\n\
        counts = (parse(lines, kunit_printer.stdout) if told else parse(lines)).counts\n\
        print(counts.passed, counts.failed, counts.skipped, counts.crashed, counts.errors)";
    let mut python = Command::new("python3")
        .args(["-c", script])
        .env("PYTHONPATH", tools)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(ktap).unwrap();
    let said = text(python.wait_with_output().unwrap().stdout);
    said.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn the_kernels_own_parser_takes_our_ktap() {
    let hostile = "KTAP version 1\n1..7\n# Subtest: x\nok 1 x\nnot ok 2 y\nreboot: System halted\n";
    let cases = [
        case("good", "passed", ""),
        case("bad", "failed", hostile),
        case("dead", "panicked", hostile),
        case("none", "skipped", ""),
        json!({
            "event": "guest", "guest": "guest-6.12-2", "end": "lost", "detail": hostile,
            "charged": false, "last_case": null, "strays": [hostile],
        }),
    ];
    let no_guest = [
        case("a # SKIP", "not-run", ""),
        case("b", "not-run", ""),
        json!({ "event": "trouble", "subject": "6.12", "what": hostile }),
    ];
    let late = [case("a", "passed", ""), case("b", "not-run", "")];
    // Before a kernel is built, the format is checked by the unit tests' strict reader alone.
    for tools in kunit() {
        // Two cases failed, and the guest is two errors beside them. Later parsers count a group with
        // a test that was not run as well.
        let [not_run, half] = [&["0 2 2 0 0"][..], &["1 1 1 0 0", "1 2 1 0 0"]];
        for (cases, expected) in
            [(&cases[..], &["1 4 1 0 0"][..]), (&no_guest, not_run), (&late, half)]
        {
            let run = run("", cases);
            let ktap = report(&["ktap", "-o", "-"], &[run.path()]).stdout;
            let counted = counts(&tools, &ktap);
            let place = tools.display();
            assert!(expected.contains(&&*counted), "{counted} by {place} of\n{}", text(ktap));
        }
    }
}
