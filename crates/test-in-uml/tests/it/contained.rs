use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use test_in_uml::isolation::{Cmd, Output};

use super::support::{OwnGroup as _, eventually, exe, is_running, isolation, unique};

/// Runs a shell script contained, and returns its exit code with what it wrote.
fn script(text: &str) -> (Option<i32>, String) {
    let (mut output, theirs) = std::io::pipe().unwrap();
    let shell = Cmd::new("sh").args(["-c", text]);
    let mut running = shell.start(&isolation(), Output::Both(theirs.into())).unwrap();
    let mut written = String::new();
    output.read_to_string(&mut written).unwrap();
    (running.wait().unwrap().code(), written.trim().to_owned())
}

#[test]
fn an_end_is_passed_on() {
    assert_eq!(script("echo out; echo err >&2; exit 7"), (Some(7), "out\nerr".into()));
    assert_eq!(script("kill -9 $$").0, Some(128 + 9));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let (mut output, theirs) = std::io::pipe().unwrap();
    let program = Cmd::new("no-such-program");
    let mut running = program.start(&isolation(), Output::Both(theirs.into())).unwrap();
    let mut written = String::new();
    output.read_to_string(&mut written).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(127));
    assert!(written.contains("no-such-program"), "{written}");
}

#[test]
fn a_step_sees_its_own_processes_only_and_writes_as_its_user() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("written");
    let (code, pid) = script(&format!("touch {}; echo $$", file.display()));
    assert_eq!(code, Some(0));
    assert_eq!(pid, "2", "PID 1 is ours, the step is the second");
    let own = fs::metadata(dir.path()).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().uid(), own.uid());
}

#[test]
fn what_a_step_leaves_running_ends_with_it() {
    let word = unique("orphan");
    let (code, _) = script(&format!("sh -c 'sleep 1000; true' {word} >/dev/null 2>&1 & exit 0"));
    assert_eq!(code, Some(0));
    assert!(!is_running(&word));
}

#[test]
fn dropping_a_step_ends_all_of_it() {
    let word = unique("dropped");
    let text = format!("sh -c 'sleep 1000; true' {word} & wait");
    let running = Cmd::new("sh").args(["-c", &text]).start(&isolation(), Output::Ours).unwrap();
    eventually("the step", || is_running(&word));
    drop(running);
    assert!(!is_running(&word));
}

#[test]
fn a_step_dies_with_whoever_started_it_even_by_sigkill() {
    let word = unique("lifeline");
    // The shell holds the lifeline, as xtask would; killed, it cannot clean up.
    let mut shell = Command::new("sh")
        .args(["-c", "sleep 1000 | \"$0\" __contain own sh -c 'sleep 1000; true' \"$1\""])
        .arg(exe())
        .arg(&word)
        .process_group_of_its_own()
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the step", || is_running(&word));
    let group = nix::unistd::Pid::from_raw(-shell.id().cast_signed());
    nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGKILL).unwrap();
    shell.wait().unwrap();
    eventually("the end of the step", || !is_running(&word));
}
