//! Guests in the background, and what is done in them. These need a kernel and an image, so that they are ignored here;
//! `cargo xtask ci` runs them. `UML_SHELL_ARGS` asks for another kernel than the default one.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::full_guest::{Shell, more_arguments};
use super::support::{eventually, is_in_an_environment, own_target, processes_with, unique, xtask};

mod files;

/// A variable that all that holds a guest has in its environment.
const MARK: &str = "UML_TEST_MARK";

/// A guest in the background, which is gone when this is dropped.
struct Background {
    name: String,
    mark: String,
}

fn up(name: &str, mark: &str) -> Command {
    let mut command = xtask();
    command.args(["up", name]).args(more_arguments()).env(MARK, mark);
    command
}

fn run(command: &str, args: &[&str]) -> Output {
    xtask().arg(command).args(args).stdin(Stdio::null()).output().unwrap()
}

/// What a command of ours said that succeeded.
fn says(command: &str, args: &[&str]) -> String {
    let output = run(command, args);
    assert!(output.status.success(), "{command} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Its exit code, and what it said of what went wrong.
fn fails(command: &str, args: &[&str]) -> (Option<i32>, String) {
    let output = run(command, args);
    assert!(!output.status.success(), "{command} {args:?}: {output:?}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

impl Background {
    fn boot(tag: &str) -> Self {
        let name = format!("{tag}-{}", std::process::id());
        let mark = unique(&name);
        let output = up(&name, &mark).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), name);
        Self { name, mark }
    }

    /// What a command in the guest says on its standard output.
    fn says(&self, command: &[&str]) -> String {
        says("exec", &[&[&*self.name, "--"], command].concat())
    }

    fn holder(&self) -> Pid {
        let own = processes_with(&self.name);
        processes_with("--holder").into_iter().find(|pid| own.contains(pid)).unwrap()
    }

    fn is_listed(&self) -> bool {
        says("ps", &[]).lines().any(|line| line.split(' ').next() == Some(&self.name))
    }

    /// Nothing is there any more of what held it.
    fn is_gone(&self) -> bool {
        let folder = own_target().join("uml/guests").join(&self.name);
        !self.is_listed() && !folder.exists() && !is_in_an_environment(&self.mark)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = run("down", &["--now", &self.name]);
    }
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_command_has_its_streams_its_status_and_its_signals() {
    let guest = Background::boot("command");
    let name = &*guest.name;
    assert!(guest.is_listed());
    let output =
        run("exec", &[name, "sh", "-c", "pwd; echo \"$HOME $TERM.\"; echo no >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/root\n/root .\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "no\n");
    assert_eq!(guest.says(&["echo", "a  b", "*"]), "a  b *\n");
    assert_eq!(
        says("exec", &["--user", "uml", name, "--", "sh", "-c", "echo \"$HOME $(id -u)\""]),
        "/home/uml 1000\n"
    );
    let (code, why) = fails("exec", &[name, "no-such-program"]);
    assert!(code == Some(96) && why.contains("no-such-program"), "{why}");
    assert_eq!(fails("exec", &[name, "sh", "-c", "kill -9 $$"]).0, Some(137));
    // What a command leaves running does not keep it.
    guest.says(&["sh", "-c", "sleep 1000 & echo"]);

    // More input than any buffer on its way holds, also for who does not read it.
    let mut wants = xtask();
    wants.args(["exec", name, "sha256sum"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reads = wants.spawn().unwrap();
    let text = "0123456789abcde\n".repeat(1 << 18);
    reads.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let sum = String::from_utf8(reads.wait_with_output().unwrap().stdout).unwrap();
    let ours =
        Command::new("sha256sum").stdin(fs::File::open(file_of(&text).path()).unwrap()).output();
    assert_eq!(sum.as_bytes(), ours.unwrap().stdout);
    let zeroes = fs::File::open("/dev/zero").unwrap();
    let unread = xtask().args(["exec", name, "sleep", "1"]).stdin(zeroes).status().unwrap();
    assert_eq!(unread.code(), Some(0));

    // Ctrl-C is the command's, also where it reads nothing of what it is given.
    let script = "trap 'echo caught; exit 3' INT; touch /tmp/begun; while :; do sleep 0.1; done";
    let mut stopped = xtask();
    stopped.args(["exec", name, "sh", "-c", script]).stdin(fs::File::open("/dev/zero").unwrap());
    let stopped = stopped.stdout(Stdio::piped()).spawn().unwrap();
    eventually("the command", || run("exec", &[name, "test", "-e", "/tmp/begun"]).status.success());
    kill(Pid::from_raw(stopped.id().cast_signed()), Signal::SIGINT).unwrap();
    let stopped = stopped.wait_with_output().unwrap();
    assert_eq!((stopped.status.code(), &*stopped.stdout), (Some(3), &b"caught\n"[..]));
}

fn file_of(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
#[ignore = "needs a kernel and an image"]
fn who_has_a_terminal_has_one_in_the_guest() {
    let guest = Background::boot("terminal");
    let command = |args: &[&str]| {
        let mut command = xtask();
        command.args(["exec", &guest.name]).args(args).env("TERM", "vt100");
        command
    };
    let mut shell = Shell::of(command(&[]));
    shell.expect("# ").runs(
        "echo \"on $(tty | cut -c-8) as $(id -un) in $TERM\"",
        "on /dev/pts as root in vt100",
    );
    shell.runs("stty size", "40 100");
    shell
        .keys("sleep 1000\n")
        .keys("\x03")
        .expect("# ")
        .runs("echo \"still $((40 + 2))\"", "still 42");
    shell.keys("exit 5\n").ends_with(5);
    // The way out of a command that does not end.
    let mut left = Shell::of(command(&["cat"]));
    left.runs("some text", "some text").keys("\x1dq").ends_with(129);
    eventually("the end of what was left", || {
        !run("exec", &[&guest.name, "pidof", "cat"]).status.success()
    });
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_case_of_a_run_is_run_by_hand_in_a_guest() {
    let case = "a_complaint_is_declared_by_its_message";
    let ran = xtask().args(["test-in-uml", case]).args(more_arguments()).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let guest = Background { name: format!("hand-{}", std::process::id()), mark: unique("hand") };
    let replay = ["--replay", &format!("latest/declared {case}")];
    let booted = up(&guest.name, &guest.mark).args(replay).output().unwrap();
    let said = String::from_utf8_lossy(&booted.stderr);
    assert!(booted.status.success() && said.contains("/root/case/run"), "{booted:?}");
    for _ in 0..2 {
        let output = run("exec", &[&guest.name, "/root/case/run"]);
        let (out, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.contains("1 passed"), "{output:?}");
        assert!(said.contains("declared: "), "{said}");
    }
    assert!(guest.says(&["/root/case/run", "--list"]).contains(case));
    let mut at_once = xtask();
    at_once.arg("shell").args(replay).args(more_arguments());
    let mut shell = Shell::of(at_once);
    shell.log_in("root", "root");
    let waits =
        "until [ -x /root/case/run ]; do sleep 0.1; done; /root/case/run && echo \"by $(id -un)\"";
    shell.runs(waits, "by root").keys("poweroff\n").ends_with(0);
    let gone = ["--replay", "latest/declared no_such_case"];
    let refused = up("none", "none").args(gone).output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && why.contains("no_such_case"), "{why}");
}

#[test]
#[ignore = "needs a kernel and an image"]
fn nobody_in_a_guest_becomes_root_by_asking_for_commands() {
    let guest = Background::boot("asking");
    let script = "exec 3<>/dev/tcp/127.0.0.1/7880 && head -c1 <&3 | wc -c";
    let asked = says("exec", &["--user", "uml", &guest.name, "bash", "-c", script]);
    assert_eq!(asked.trim(), "0", "whoever connects from the guest is not greeted");
    let own = "exec 3<>/dev/tcp/$(hostname -I | cut -d' ' -f1)/7880 && head -c1 <&3 | wc -c";
    assert_eq!(says("exec", &["--user", "uml", &guest.name, "bash", "-c", own]).trim(), "0");
}

#[test]
#[ignore = "needs a kernel and an image"]
fn guests_have_their_names_until_they_end_however_that_is() {
    let (one, other) = (Background::boot("one"), Background::boot("other"));
    assert!(one.is_listed() && other.is_listed());
    let refused = up(&one.name, "none").output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(96) && why.contains("runs already"), "{why}");

    one.says(&["sh", "-c", "echo 1 > /root/note"]);
    assert_eq!(other.says(&["ls", "/root"]), "", "each has a disk of its own");
    says("down", &[&one.name]);
    assert!(one.is_gone() && other.is_listed());
    let (_, why) = fails("exec", &[&one.name, "true"]);
    assert!(why.contains("no guest") && why.contains(&other.name), "{why}");

    let mut waits = xtask();
    waits.args(["exec", &other.name, "sh", "-c", "echo begun; sleep 100000"]);
    let mut waits = waits.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(waits.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
    kill(other.holder(), Signal::SIGKILL).unwrap();
    assert_eq!(waits.wait().unwrap().code(), Some(96), "whoever is in a guest hears of its end");
    eventually("the end of what a killed process held", || other.is_gone());
    // The name is free, and one that switches itself off gives it back too.
    let again = up(&other.name, &other.mark).output().unwrap();
    assert!(again.status.success(), "{again:?}");
    run("exec", &[&other.name, "poweroff"]);
    eventually("the end of a guest that was switched off inside", || other.is_gone());
    let (code, why) = fails("down", &[&other.name]);
    assert!(code == Some(96) && why.contains("no guest"), "{why}");
}

#[test]
#[ignore = "needs a kernel and an image"]
fn who_gives_up_a_guest_that_boots_leaves_nothing() {
    for (signal, code) in [(Signal::SIGINT, Some(130)), (Signal::SIGKILL, None)] {
        let guest =
            Background { name: format!("early-{}", std::process::id()), mark: unique("early") };
        let mut booting = up(&guest.name, &guest.mark);
        let mut booting = booting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("a guest", || guest.is_listed());
        kill(Pid::from_raw(booting.id().cast_signed()), signal).unwrap();
        assert_eq!(booting.wait().unwrap().code(), code);
        eventually("the end of a guest that nobody waits for", || guest.is_gone());
    }
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_guest_that_does_not_come_up_says_why() {
    let name = format!("broken-{}", std::process::id());
    let mark = unique("broken");
    let output = up(&name, &mark).args(["--append", "root=/dev/nonesuch"]).output().unwrap();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(96) && output.stdout.is_empty(), "{why}");
    assert!(why.contains("did not come up") && why.contains("Unable to mount root"), "{why}");
    assert!(!is_in_an_environment(&mark));
}
