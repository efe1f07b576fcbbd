//! Disks without room, each a small tmpfs in a mount namespace of the test: the error names the place
//! and what is free there, and with more room the next run is green.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::store::{Host, says};
use super::support::{own_target, xtask};

/// Builds a kernel with `place` on a file system with these options, and again with more room; says
/// what the first run said.
fn run(host: &Host, place: &str, options: &str, more: &str) -> String {
    host.go();
    twice(host, &host.path(place), &host.kernel("checkout"), options, more)
}

/// The same with any command.
fn twice(host: &Host, dir: &Path, inner: &Command, options: &str, more: &str) -> String {
    fs::create_dir_all(dir).unwrap();
    let script = "mount -t tmpfs -o mode=0700,$OPTIONS none \"$PLACE\"\n\
                  \"$@\" 2>\"$HERE/first\"; echo \"first $?\"\n\
                  mount -o remount,$MORE none \"$PLACE\"\n\
                  \"$@\"; echo \"second $?\"\n\
                  find \"$HERE/cache/store/tmp\" -mindepth 1";
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["sh", "-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PLACE", dir).env("HERE", host.path("")).env("OPTIONS", options).env("MORE", more);
    let output = command.output().unwrap();
    let first = fs::read_to_string(host.path("first")).unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.first(), Some(&"first 96"), "{stdout}{first}");
    assert_eq!(lines.last(), Some(&"second 0"), "{stdout}{}", says(&output));
    assert!(first.contains("MiB are free in") && first.contains("xtask clean"), "{first}");
    assert!(first.contains(&*dir.to_string_lossy()), "{first}");
    first
}

#[test]
fn an_entry_that_does_not_fit_is_none() {
    let host = Host::new();
    // The configuration is what is large of this kernel.
    fs::write(host.path("comments"), "# a comment\n".repeat(300_000)).unwrap();
    let first = run(&host, "cache", "size=1m", "size=16m");
    assert!(first.contains("a disk was full") && first.contains("No space left"), "{first}");
    assert_eq!(host.builds(), 2);
}

#[test]
fn a_source_without_room_is_not_unpacked() {
    let host = Host::new();
    let mut archive = fs::File::options().append(true).open(host.path("linux.tar")).unwrap();
    // Two blocks of zeroes end an archive (tar(5)); what follows is of no account but for its size.
    archive.write_all(&vec![0; 3 << 20]).unwrap();
    let first = run(&host, "checkout", "size=2m", "size=1g");
    assert!(first.contains("no room for the source of kernel 7.3: 4 MiB are needed"), "{first}");
    assert_eq!(host.builds(), 1);
}

#[test]
fn objects_without_room_are_not_compiled() {
    let host = Host::new();
    let first = run(&host, "checkout", "size=64m", "size=1g");
    assert!(first.contains("no room for the objects of a kernel: 117 MiB are needed"), "{first}");
    assert_eq!(host.builds(), 1);
}

#[test]
fn a_run_without_a_folder_says_where() {
    let host = Host::new();
    let first = run(&host, "checkout", "size=1g,nr_inodes=2", "nr_inodes=0");
    assert!(first.contains("checkout/uml") && first.contains("No space left"), "{first}");
    assert_eq!(host.builds(), 1);
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_run_whose_folder_fills_says_so() {
    let runs = own_target().join("uml/runs");
    let mut command = xtask();
    command.args(["test-in-uml", "ext4 ", "guide ", "ubd "]);
    let first = twice(&Host::new(), &runs, &command, "size=40k", "size=1g");
    assert!(first.contains("cannot write") && first.contains("No space left"), "{first}");
    // What became of the cases is told all the same.
    assert!(first.contains("Summary") && first.contains("passed, 0 failed"), "{first}");
}
