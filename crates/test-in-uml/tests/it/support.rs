//! What the areas share.

use std::ffi::OsString;
use std::io::PipeWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use test_in_uml::isolation::{Isolation, Privilege};
use test_in_uml::stage::{GuestCommand, Share, Sight};

/// The executable whose hidden subcommands are under test.
pub fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_test-in-uml"))
}

/// xtask in our own workspace, with a target directory for tests: neither what a user ran nor what a user built
/// there is touched.
pub fn xtask() -> Command {
    let mut command = Command::new(exe());
    command.env("CARGO_TARGET_DIR", own_target());
    // As `cargo run` sets it.
    command.env("CARGO_PKG_NAME", "xtask");
    command
}

/// The target directory of [`xtask`].
pub fn own_target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("xtask")
}

/// The host's isolation. A host without any cannot run these tests, and says so.
pub fn isolation() -> Isolation {
    let isolation = Isolation::find(exe()).unwrap();
    let refused: Vec<_> = isolation.tried().iter().filter(|f| f.result.is_err()).collect();
    assert!(
        *isolation.privilege() != Privilege::None,
        "this host grants no namespaces: {refused:?}"
    );
    isolation
}

/// Waits until something is so; the time is a limit for a machine that hangs, not a measure.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(300), "it never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes whose command line has this in it.
pub fn processes_with(text: &str) -> Vec<Pid> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    let has = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    pids.filter(has).map(Pid::from_raw).collect()
}

/// Returns true if any process on this machine has `word` in its command line.
pub fn is_running(word: &str) -> bool {
    any_process_says(word, "cmdline")
}

/// Returns true if any process on this machine has `word` in its environment: what xtask starts has ours.
pub fn is_in_an_environment(word: &str) -> bool {
    any_process_says(word, "environ")
}

fn any_process_says(word: &str, file: &str) -> bool {
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let name = entry.file_name();
        name != own.as_str()
            && name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())
            && std::fs::read(entry.path().join(file))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(word))
    })
}

/// A word that no other process has in its command line.
pub fn unique(tag: &str) -> String {
    format!("{tag}-{}-{:?}", std::process::id(), std::thread::current().id())
        .replace(['(', ')'], "")
}

/// Held by a test that takes, or counts, the processes of the user that guests of root are run as.
pub fn processes_of_nobody() -> MutexGuard<'static, ()> {
    static HELD: Mutex<()> = Mutex::new(());
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program of the host in a guest's place. It sees the host's programs, which no guest does.
pub fn in_a_guests_place(argv: Vec<OsString>, console: PipeWriter) -> GuestCommand {
    let programs = ["/usr", "/bin", "/lib", "/lib64", "/proc"];
    GuestCommand {
        argv,
        sight: programs.into_iter().fold(Sight::default(), Sight::with),
        share: Share::default(),
        address_space: None,
        console: console.into(),
    }
}

/// The end of a guest's process.
pub fn sleeper(word: &str) -> Vec<OsString> {
    // The word is an argument that the shell ignores.
    ["/bin/sh", "-c", "sleep 1000; true", word].map(Into::into).to_vec()
}

/// What a command's signal reaches.
pub trait OwnGroup {
    /// Starts a process group, which can be killed as a whole.
    fn process_group_of_its_own(&mut self) -> &mut Self;
}

impl OwnGroup for Command {
    fn process_group_of_its_own(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::process_group(self, 0)
    }
}
