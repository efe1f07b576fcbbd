use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use expect_test::expect;

use super::support::{exe, xtask};

fn ran(args: &[&str]) -> Output {
    xtask().args(args).output().unwrap()
}

#[test]
fn the_help_names_every_command() {
    let output = ran(&["--help"]);
    expect![[r#"
        Builds User Mode Linux kernels and images, boots guests and runs Rust tests in them

        Usage: cargo xtask [OPTIONS] <COMMAND>

        Commands:
          doctor       Examine the host: what is missing, what that breaks, and the cure
          setup        Install the packages that are missing
          fetch        Fetch the source of a kernel
          kernel       Build a kernel
          image        Build the image that guests boot from
          test-in-uml  Build everything, boot guests, and run the tests in them
          in-guest     Run a command whose test processes run in guests: `in-guest -- cargo nextest run`
          bisect       Find the commit of a kernel's tree on which a case began to fail
          report       Show runs that are over in other formats, compare and merge them
          shell        Boot a guest with the image's own init, its console on this terminal
          up           Boot a guest in the background, where `exec` and `cp` find it by its name until `down`
          exec         Run a command in a guest that runs, or log in
          cp           Copy files and folders between the host and a guest that runs
          ps           Show the guests that run in this checkout
          down         Switch guests off
          net          Make a network of the host for guests, and undo it
          clean        Remove what can be built again
          init         Have tests of another repository run in guests: writes what it needs, and overwrites nothing
          config       Show the configuration that holds, and which files are the engine's and which the workspace's
          help         Print this message or the help of the given subcommand(s)

        Options:
          -v, --verbose  Say every command too
          -q, --quiet    Say only what went wrong
              --locked   Fail rather than change uml.lock or take another default kernel
              --offline  Open no connection to another machine; fail if something is missing
          -h, --help     Print help
          -V, --version  Print version
    "#]]
    .assert_eq(&String::from_utf8(output.stdout).unwrap());
}

#[test]
fn wrong_usage_is_exit_code_2() {
    assert_eq!(ran(&["test-in-uml", "--no-such-flag"]).status.code(), Some(2));
    assert_eq!(ran(&[]).status.code(), Some(2));
    for wrong in [
        &["test-in-uml", "--replay", "no-slash"][..],
        &["test-in-uml", "--replay", "no-such-run/a b"],
        &["test-in-uml", "--baseline", "no-such-run"],
        &["test-in-uml", "--module", "/no/such/folder"],
        &["test-in-uml", "--tree", "/no/such/folder"],
        &["kernel", "--tarball", "/no/such/file"],
        &["kernel", "--tree", "/", "--kernel", "6.1", "--kernel", "6.12"],
        &["shell", "--kernel", "6.1", "--kernel", "6.12"],
        &["report", "html", "-o", "x", "one", "two"],
    ] {
        let output = ran(wrong);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {said}");
    }
}

#[test]
fn an_unknown_kernel_is_refused_with_the_names_that_there_are() {
    let output = ran(&["kernel", "--kernel", "6.21"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("no kernel `6.21`") && error.contains("did you mean `6.1`?"), "{error}");
}

#[test]
fn sudo_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can look like sudo.
        return;
    }
    let output = xtask().arg("doctor").env("SUDO_UID", "1000").output().unwrap();
    assert_eq!(output.status.code(), Some(96));
    assert!(String::from_utf8(output.stderr).unwrap().contains("run as yourself"));
}

#[test]
fn a_build_that_replaces_our_executable_does_no_harm() {
    // `cargo test` may link xtask anew while xtask waits for it.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let twin = dir.path().join("xtask");
    std::fs::hard_link(exe(), &twin).unwrap();
    let held = std::fs::File::open(&twin).unwrap();
    std::fs::remove_file(&twin).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), held.as_raw_fd());
    let output = Command::new(path).arg("doctor").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!error.contains("cannot start"), "{error}");
}

#[test]
fn that_ctrl_c_ends_a_program_of_ours_is_no_error_of_that_program() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cargo = dir.path().join("cargo");
    std::fs::write(&cargo, "#!/bin/sh\nkill -INT $PPID\nexit 1\n").unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = xtask().arg("doctor").env("CARGO", &cargo).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), error.as_str()), (Some(130), "error: interrupted\n"));
}
