//! SIGKILL and Ctrl-C at random instants of each stage. These need what earlier stages made, and the network where a stage
//! does, so that they are ignored here; `UML_INSTANTS` says how many instants of each signal are tried.
//!
//! Longer than 300 lines: all stages are interrupted in the same way, and held against the same state.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::server::{Server, give};
use super::support::{eventually, is_in_an_environment, xtask};
use super::workspace::Workspace;

/// A limit for what hangs, not a measure: to remove a kernel's tree takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a dear stage is interrupted before it may run to its end.
const OFTEN: usize = 5;

/// A cache and a target folder of its own, in which a stage is interrupted.
struct Host {
    dir: tempfile::TempDir,
    args: Vec<String>,
    /// The lock file of the checkout, which a stage may write.
    lock: (PathBuf, Vec<u8>),
}

impl Host {
    /// A host that has of the shared cache the entries of these kinds.
    fn with(kinds: &[&str], args: &str) -> Self {
        // Whatever a killed process leaves running comes to us, and is found.
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../uml.lock");
        let lock = (lock.clone(), fs::read(lock).unwrap());
        let host = Self { dir, args: args.split(' ').map(str::to_owned).collect(), lock };
        fs::create_dir(host.path("tmp")).unwrap();
        let store = host.path("cache/store");
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&store).unwrap();
        for kind in kinds {
            let from = shared_cache().join("store").join(kind);
            let copied = Command::new("cp").arg("-a").arg(&from).arg(&store).status().unwrap();
            assert!(
                copied.success(),
                "{} is needed: run `cargo xtask test-in-uml`",
                from.display()
            );
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = xtask();
        command
            .args(&self.args)
            .env("UML_CACHE_DIR", self.path("cache"))
            .env("CARGO_TARGET_DIR", self.path("target"))
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path("stderr")).unwrap())
            // As a shell does: Ctrl-C goes to the whole group.
            .process_group(0);
        command
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("stderr")).unwrap()).into_owned()
    }

    /// Lets the stage run to its end, which has to be green, and says how long that took.
    fn undisturbed(&self) -> Duration {
        let start = Instant::now();
        let status = self.command().status().unwrap();
        let said = self.stderr();
        assert!(status.success(), "{status}: {said}");
        assert!(!said.contains("is rebuilt"), "an entry was there and not whole: {said}");
        let left = self.temporary();
        assert!(left.is_empty(), "a run to the end leaves {left:?}");
        start.elapsed()
    }

    /// Interrupts the stage after `instant`, and looks at what that leaves.
    fn interrupted(&self, how: Signal, instant: Duration) -> ExitStatus {
        let mut child = self.command().spawn().unwrap();
        std::thread::sleep(instant);
        signal(&child, how);
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            let said = || self.stderr();
            assert!(start.elapsed() < PATIENCE, "{how} after {instant:?}: it runs on: {}", said());
            std::thread::sleep(Duration::from_millis(5));
        };
        let said = self.stderr();
        match how {
            // It may have been over before, or not have begun to listen.
            Signal::SIGINT if status.signal() == Some(how as i32) => assert_eq!(said, ""),
            Signal::SIGINT => {
                assert!(matches!(status.code(), Some(130 | 0)), "{instant:?}, {status}: {said}")
            }
            _ => assert!(status.success() || status.signal() == Some(how as i32), "{status}"),
        }
        eventually("the end of what xtask had started", || descendants().is_empty());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = self.dir.path().to_string_lossy();
        assert!(!mounts.contains(ours.as_ref()), "{how} after {instant:?} leaves mounts: {mounts}");
        let left = names(&self.path("tmp"));
        assert!(left.is_empty(), "{how} after {instant:?} leaves {left:?}");
        if how == Signal::SIGINT {
            let left = self.temporary();
            assert!(left.is_empty(), "Ctrl-C after {instant:?} leaves {left:?}");
        }
        status
    }

    /// Interrupts the stage at random instants within `span`; after some of them, and at the end, `green` checks that the stage
    /// can be run, and what was complete must have been reused. `again` prepares the next.
    fn at_random(&self, span: Duration, green_after: usize, again: impl Fn(&Self)) {
        let instants = std::env::var("UML_INSTANTS").map_or(10, |count| count.parse().unwrap());
        let mut ends = BTreeMap::<String, usize>::new();
        for how in [Signal::SIGKILL, Signal::SIGINT] {
            let mut number = 0;
            while number < instants {
                let share = RandomState::new().hash_one(number) % 1000;
                let instant = span.mul_f64(share as f64 / 1000.0);
                let status = self.interrupted(how, instant);
                eprintln!("{how} after {instant:?}: {status}");
                *ends.entry(format!("{how}: {status}")).or_default() += 1;
                if status.success() {
                    // It was quicker than the instant, which does not count.
                    again(self);
                    continue;
                }
                number += 1;
                if number % green_after == 0 {
                    let complete = self.complete();
                    self.undisturbed();
                    let now = self.complete();
                    for (path, inode) in &complete {
                        assert_eq!(now.get(path), Some(inode), "{} was made anew", path.display());
                    }
                    again(self);
                }
            }
        }
        eprintln!("{:?} within {span:?}: {ends:?}", self.args);
    }

    /// What is complete by the store's word, or by that of a stamp, with its inode.
    fn complete(&self) -> BTreeMap<PathBuf, u64> {
        let store = self.path("cache/store");
        let entries =
            ["download", "rootfs", "image", "kernel", "module"].map(|kind| store.join(kind));
        let mut found: Vec<PathBuf> = entries.iter().flat_map(|dir| paths(dir)).collect();
        for work in paths(&self.path("target/uml/kernels")) {
            found.extend(work.join("src.stamp").exists().then(|| work.join("src")));
        }
        found.into_iter().map(|path| (path.clone(), fs::metadata(path).unwrap().ino())).collect()
    }

    /// What no run that is over may leave. What has arrived of a download stays on purpose.
    fn temporary(&self) -> Vec<PathBuf> {
        let mut found = paths(&self.path("cache/store/tmp"));
        let work = paths(&self.path("target/uml/kernels")).into_iter();
        let places = work.chain([self.path("target/uml/runs"), self.path("cache/facts")]);
        let hidden = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with('.') || name.ends_with("partial") || name.ends_with("unpacking")
        };
        found.extend(places.flat_map(|dir| paths(&dir)).filter(hidden));
        let checkout = paths(self.lock.0.parent().unwrap()).into_iter();
        found.extend(checkout.filter(|path| path.to_string_lossy().contains("/.tmp")));
        found
    }

    fn forget(&self, name: &str) {
        let path = self.path(name);
        Command::new("chmod")
            .args(["-R", "u+w"])
            .arg(&path)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let _ = fs::remove_dir_all(path);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.forget("cache");
        let _ = fs::write(&self.lock.0, &self.lock.1);
    }
}

/// SIGKILL is for xtask alone, which is the worst; Ctrl-C is for all that a terminal would tell.
fn signal(child: &Child, how: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed());
    let _ = if how == Signal::SIGKILL { kill(pid, how) } else { killpg(pid, how) };
}

fn shared_cache() -> PathBuf {
    let named = std::env::var_os("UML_CACHE_DIR").map(PathBuf::from);
    named.unwrap_or_else(|| {
        Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/cargo-xtask-uml")
    })
}

fn paths(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

fn names(dir: &Path) -> Vec<String> {
    paths(dir).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// The command lines of all processes below this one that have not ended; those that have are reaped.
fn descendants() -> Vec<String> {
    let mut parents = BTreeMap::new();
    for pid in names(Path::new("/proc")).iter().filter_map(|name| name.parse::<i32>().ok()) {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next().unwrap(), fields.next().unwrap());
        parents.insert(pid, (state.to_owned(), parent.parse::<i32>().unwrap()));
    }
    let own = std::process::id().cast_signed();
    let is_ours = |mut pid: i32| {
        while let Some((_, parent)) = parents.get(&pid) {
            if *parent == own {
                return true;
            }
            pid = *parent;
        }
        false
    };
    let mut living = Vec::new();
    for (pid, (state, parent)) in &parents {
        if state == "Z" && *parent == own {
            let _ = nix::sys::wait::waitpid(Pid::from_raw(*pid), None);
        } else if is_ours(*pid) {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            living.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    living
}

/// Starts xtask in a workspace, interrupts it once it is `there`, and checks that nothing runs on.
fn interrupted_once(workspace: &Workspace, args: &[&str], how: Signal, there: impl Fn() -> bool) {
    let mut command = workspace.command(args);
    let output = command.stdout(Stdio::null()).stderr(Stdio::null());
    // To the process alone: a child that is not told has to end all the same.
    let mut child = output.process_group(0).spawn().unwrap();
    eventually("the instant", there);
    kill(Pid::from_raw(child.id().cast_signed()), how).unwrap();
    let status = child.wait().unwrap();
    match how {
        Signal::SIGINT => assert_eq!(status.code(), Some(130)),
        _ => assert_eq!(status.signal(), Some(how as i32)),
    }
    let ours = workspace.path("cache");
    eventually("the end of what xtask had started", || {
        !is_in_an_environment(&ours.to_string_lossy())
    });
}

const BOTH: [Signal; 2] = [Signal::SIGKILL, Signal::SIGINT];

#[test]
fn a_build_of_guest_programs_ends_with_xtask() {
    for how in BOTH {
        let workspace = Workspace::new(&[("empty", "")]);
        let begun = workspace.path("begun");
        let script = format!(
            "fn main() {{ std::fs::write({begun:?}, \"\").unwrap(); \
             std::thread::sleep(std::time::Duration::from_secs(1000)) }}"
        );
        workspace.write("guest-tests/build.rs", &script);
        interrupted_once(&workspace, &["test-in-uml", "--list"], how, || begun.exists());
        workspace.write("guest-tests/build.rs", "fn main() {}");
        let (code, _, said) = workspace.xtask(&["test-in-uml", "--list"]);
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn a_download_goes_on_where_it_was_interrupted() {
    const SOURCE: &[u8] = b"the source";
    for how in BOTH {
        let server = Server::new(|asked, stream| {
            give(SOURCE, asked, if asked.number == 0 { 4 } else { SOURCE.len() }, stream);
            if asked.number == 0 {
                // Until the client hangs up.
                let _ = stream.read(&mut [0]);
            } else {
                assert_eq!(asked.from, 4);
            }
        });
        let workspace = Workspace::new(&[]);
        workspace.takes_tarball(&format!("{}/a.tar.xz", server.url), SOURCE);
        let partial = workspace.path("cache/store/partial");
        let arrived = || paths(&partial).iter().any(|path| fs::metadata(path).unwrap().len() == 4);
        let args = ["fetch", "--kernel", "mine"];
        interrupted_once(&workspace, &args, how, arrived);
        let (code, path, said) = workspace.xtask(&args);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(fs::read(path.trim()).unwrap(), SOURCE);
        assert!(paths(&partial).is_empty() && server.requests() == 2);
    }
}

#[test]
fn apt_ends_with_xtask() {
    for how in BOTH {
        let server = Server::new(|_, stream| drop(stream.read(&mut [0])));
        let workspace = Workspace::new(&[]);
        let package = r#"package = "linux-source-6.1""#;
        workspace.replace(package, &format!("{package}, mirror = \"{}\"", server.url));
        let args = ["fetch", "--kernel", "mine"];
        interrupted_once(&workspace, &args, how, || server.requests() > 0);
    }
}

#[test]
#[ignore = "fetches from Debian"]
fn a_fetch() {
    let host = Host::with(&[], "fetch --kernel 6.12 --locked");
    let span = host.undisturbed();
    host.forget("cache");
    host.at_random(span, 1, |host| host.forget("cache"));
}

#[test]
#[ignore = "unpacks and builds a kernel"]
fn a_kernel() {
    let host = Host::with(&["download"], "kernel --kernel 6.12 --locked --offline");
    let work = host.path("target/uml/kernels");
    let unpacked = || paths(&work).iter().any(|dir| dir.join("src.stamp").exists());
    let (start, mut child) = (Instant::now(), host.command().spawn().unwrap());
    while !unpacked() {
        assert!(child.try_wait().unwrap().is_none(), "{}", host.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    let span = start.elapsed();
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    // Neither stage is run to its end in between: that is the same end for both, and dear.
    host.forget("target/uml/kernels");
    host.at_random(span, usize::MAX, |_| ());
    host.at_random(Duration::from_secs(20), usize::MAX, |_| ());
    let complete = host.complete();
    host.undisturbed();
    assert!(complete.iter().all(|(path, inode)| host.complete().get(path) == Some(inode)));
    let kernel = |cache: &Path| {
        let made = paths(&cache.join("store/kernel"));
        made.iter()
            .map(|dir| test_in_uml::store::sha256_of(&dir.join("linux")).unwrap())
            .collect::<Vec<_>>()
    };
    let shared = kernel(&shared_cache());
    for hash in kernel(&host.path("cache")) {
        assert!(shared.contains(&hash), "an interrupted build gives another kernel");
    }
}

#[test]
#[ignore = "bootstraps Debian"]
fn a_bootstrap() {
    let host = Host::with(&[], "image");
    host.undisturbed();
    host.forget("cache");
    let span = host.undisturbed();
    host.forget("cache");
    host.at_random(span, OFTEN, |host| host.forget("cache"));
}

#[test]
#[ignore = "needs a bootstrapped root file system"]
fn an_image() {
    let host = Host::with(&["rootfs"], "image --locked --offline");
    host.undisturbed();
    host.forget("cache/store/image");
    let span = host.undisturbed();
    host.forget("cache/store/image");
    host.at_random(span, 1, |host| host.forget("cache/store/image"));
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_run() {
    let args = "test-in-uml --kernel 6.12 --locked --offline declared ext4 network";
    let host = Host::with(&["rootfs", "image", "kernel", "module"], args);
    host.undisturbed();
    let span = host.undisturbed();
    host.at_random(span, 1, |_| ());
}
