//! A program that is shut in, and tries not to be.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use test_in_uml::cancel::CancelToken;
use test_in_uml::isolation::{self, Isolation, Shown, ShutLimits};

use super::support::{OwnGroup as _, eventually, exe, is_running, processes_of_nobody, unique};

const TRIES: &str = include_str!("contained_program/tries.rs");

/// The program, built as test binaries are.
fn program(dir: &Path) -> File {
    let (source, path) = (dir.join("tries.rs"), dir.join("tries"));
    fs::write(&source, TRIES).unwrap();
    let flags = ["--edition=2024", "-Ctarget-feature=+crt-static", "-Crelocation-model=static"];
    let built = Command::new("rustc").args(flags).arg(&source).arg("-o").arg(&path).status();
    assert!(built.unwrap().success());
    File::open(path).unwrap()
}

fn limits() -> ShutLimits {
    ShutLimits { time: Duration::from_secs(600), output: 1 << 20, memory: 1 << 30, threads: 1000 }
}

fn shut_in(
    isolation: &Isolation,
    env: &[String],
    runs: &[&[&str]],
    limits: &ShutLimits,
) -> anyhow::Result<Vec<Shown>> {
    let dir = tempfile::tempdir().unwrap();
    isolation::shut_in(&CancelToken::default(), isolation, program(dir.path()), env, runs, limits)
}

/// What this host grants, and what a host grants that has no namespaces for us.
fn hosts() -> [Isolation; 2] {
    let bare = Isolation::find(exe()).unwrap().without_namespaces();
    [Isolation::find(exe()).unwrap(), bare]
}

fn stdout(shown: &Shown) -> String {
    String::from_utf8(shown.stdout.clone()).unwrap()
}

#[test]
fn each_run_shows_what_it_wrote_and_how_it_ended() {
    for host in hosts() {
        let env = ["UML_WORD=1".to_owned()];
        let shown = shut_in(&host, &env, &[&["--list"], &["a b", ""]], &limits()).unwrap();
        assert_eq!(stdout(&shown[0]), "[\"--list\"]\n[\"UML_WORD\"]\n");
        assert_eq!(stdout(&shown[1]), "[\"a b\", \"\"]\n[\"UML_WORD\"]\n");
        assert_eq!(shown[1].stderr, b"to standard error\n");
        assert_eq!(shown[1].status().code(), Some(7));
    }
}

#[test]
fn a_program_that_is_shut_in_reaches_nothing_of_the_host() {
    let _held = processes_of_nobody();
    let dir = tempfile::tempdir().unwrap();
    let [file, secret, socket] = ["file", "secret", "socket"].map(|name| dir.path().join(name));
    fs::write(&secret, "secret").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let by_path = UnixListener::bind(&socket).unwrap();
    for listening in [listener.set_nonblocking(true), by_path.set_nonblocking(true)] {
        listening.unwrap();
    }
    let env = [
        "MANNER=tries".to_owned(),
        format!("FILE={}", file.display()),
        format!("SECRET={}", secret.display()),
        format!("SOCKET={}", socket.display()),
        format!("PORT={}", listener.local_addr().unwrap().port()),
        format!("ROOT={}", if nix::unistd::geteuid().is_root() { "yes" } else { "no" }),
    ];
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    for host in hosts() {
        let shown = shut_in(&host, &env, &[&[]], &limits()).unwrap();
        let text = stdout(&shown[0]);
        let tried = text.split_once('[').unwrap().0;
        assert_eq!(tried, "a thread\n", "{}", String::from_utf8_lossy(&shown[0].stderr));
        assert!(!file.exists() && fs::read(&secret).unwrap() == b"secret");
        assert!(listener.accept().is_err() && by_path.accept().is_err());
    }
    assert_eq!(fs::read_to_string("/proc/self/mounts").unwrap(), mounts);
}

#[test]
fn a_program_that_does_not_end_is_ended_and_what_it_did_is_said() {
    let short = ShutLimits { time: Duration::from_millis(300), ..limits() };
    for host in hosts() {
        for (manner, limits, why) in [
            ("sleeps", &short, "it takes longer than 300ms"),
            ("sleeps in silence", &short, "it takes longer than 300ms"),
            ("spins", &short, "it takes longer than 300ms"),
            ("floods", &limits(), "it writes more than 1048576 bytes"),
        ] {
            let word = unique("ended");
            let env = [format!("MANNER={manner}")];
            let error = shut_in(&host, &env, &[&[&word]], limits).unwrap_err();
            assert_eq!(error.to_string(), why, "{manner}");
            assert!(!is_running(&word), "{manner}");
        }
    }
}

#[test]
fn a_program_that_takes_all_memory_does_not_get_it() {
    for host in hosts() {
        let shown = shut_in(&host, &["MANNER=eats".into()], &[&[]], &limits()).unwrap();
        assert!(shown[0].status().code().is_none(), "{shown:?}");
    }
}

#[test]
fn a_program_that_is_shut_in_dies_with_whoever_asked_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let _program = program(dir.path());
    let path = dir.path().join("tries");
    for apart in [true, false] {
        let word = unique("lifeline");
        let spec = serde_json::json!({
            "program": path, "apart": apart, "env": ["MANNER=sleeps"], "runs": [[word]],
            "limits": { "time": { "secs": 1000, "nanos": 0 }, "output": 1, "memory": 1 << 30, "threads": 99 },
        });
        // The shell holds the lifeline, as xtask would; killed, it cannot clean up.
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 1000 | \"$0\" __shut \"$1\""])
            .arg(exe())
            .arg(spec.to_string())
            .process_group_of_its_own()
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let program = format!("tests\0{word}\0");
        eventually("the program", || is_running(&program));
        let group = nix::unistd::Pid::from_raw(-shell.id().cast_signed());
        nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGKILL).unwrap();
        shell.wait().unwrap();
        eventually("the end of the program", || !is_running(&program));
    }
}
