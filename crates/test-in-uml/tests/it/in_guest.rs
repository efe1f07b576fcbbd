//! Test processes of cargo and nextest in guests.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::support::xtask;

/// Tests that know whether they are in a guest.
const TESTS: &str = r#"
use std::{env, fs, process::Command};

#[test]
fn is_in_a_guest() {
    assert_eq!(fs::read_to_string("/proc/1/comm").unwrap(), "uml-agent\n");
    eprintln!("said on standard error");
}

#[test]
fn has_what_it_has_on_the_host() {
    assert_eq!(env::var("OF_THE_USER").unwrap(), "a value");
    assert_eq!(fs::read_to_string("data/text").unwrap(), "of the package\n");
    assert_eq!(env::current_dir().unwrap().to_str(), Some(env!("CARGO_MANIFEST_DIR")));
    fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/written"), "text").unwrap();
    let said = Command::new(env!("CARGO_BIN_EXE_client")).output().unwrap();
    assert_eq!(said.stdout, b"the program\n");
}

#[test]
#[ignore = "fails on purpose"]
fn ends_by_a_signal() {
    std::process::abort();
}

#[test]
#[ignore = "fails on purpose"]
fn ends_its_kernel() {
    fs::write("/proc/sysrq-trigger", "c").unwrap();
}
"#;

/// A workspace with these tests.
fn client() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let manifest =
        "[package]\nname = \"client\"\nversion = \"1.0.0\"\nedition = \"2024\"\n[workspace]\n";
    write("Cargo.toml", manifest);
    write("src/main.rs", "fn main() { println!(\"the program\") }\n");
    write("tests/one.rs", TESTS);
    write("data/text", "of the package\n");
    dir
}

fn in_guest(client: &Path, command: &[&str]) -> (Option<i32>, String) {
    let mut xtask = xtask();
    xtask.args(["in-guest", "--kernel", "6.12", "--yes", "--guests", "2", "--"]).args(command);
    xtask.current_dir(client).env("OF_THE_USER", "a value");
    let Output { status, stdout, stderr } = xtask.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout) + &text(stderr))
}

#[test]
#[ignore = "boots guests"]
fn the_tests_of_a_client_run_in_guests_and_nowhere_else() {
    let dir = client();
    let (code, said) = in_guest(dir.path(), &["cargo", "test", "--quiet"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 processes in guests"), "{said}");

    // What fails does as on the host, and what the kernel says comes with it.
    let (code, said) = in_guest(dir.path(), &["cargo", "test", "--", "--ignored", "signal"]);
    assert_eq!(code, Some(101), "{said}");
    assert!(said.contains("signal: 6, SIGABRT"), "{said}");
    let (code, said) = in_guest(dir.path(), &["cargo", "test", "--", "--ignored", "kernel"]);
    assert_eq!(code, Some(101), "{said}");
    assert!(said.contains("PANIC: panic: Kernel panic - not syncing: sysrq"), "{said}");

    // Whoever passes over us has no green run.
    let runner = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";
    let (code, said) = in_guest(dir.path(), &["env", "-u", runner, "cargo", "test"]);
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("this test is for a guest"), "{said}");
    let (code, said) = in_guest(dir.path(), &["true"]);
    assert_eq!(code, Some(96), "{said}");
    assert!(said.contains("nothing was tested"), "{said}");
    let (code, said) = in_guest(dir.path(), &["no-such-command"]);
    assert_eq!(code, Some(96), "{said}");
    assert!(said.contains("cannot start no-such-command"), "{said}");
}
