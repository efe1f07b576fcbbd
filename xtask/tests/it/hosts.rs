//! Hosts that refuse something, or are set up oddly: what can work works, what cannot says so.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use super::support::exe;

fn doctor() -> Command {
    let mut command = Command::new(exe());
    command.arg("doctor");
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The writing end of a pipe that nobody reads.
fn broken() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

#[test]
fn a_reader_who_has_had_enough_changes_nothing() {
    let usual = doctor().output().unwrap();
    let output = doctor().stdout(broken()).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (usual.status.code(), stderr(&usual)));
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = doctor().stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(96));
    let error = stderr(&output);
    assert!(error.contains("standard output: No space left"), "{error}");
}

#[test]
fn nobody_has_to_hear_of_an_error_for_its_exit_code() {
    for lost in [broken(), File::options().write(true).open("/dev/full").unwrap().into()] {
        let mut command = Command::new(exe());
        command.args(["kernel", "--kernel", "none"]).stderr(lost);
        assert_eq!(command.status().unwrap().code(), Some(96));
    }
}
