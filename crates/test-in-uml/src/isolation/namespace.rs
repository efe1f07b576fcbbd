//! Entering namespaces, and the few process primitives that everything here shares.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{ForkResult, Pid, getegid, geteuid};

use super::Ids;

/// Which namespaces beside the user's: a PID and a mount namespace always come with them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Namespaces {
    /// For a step on the host, which needs the host's network.
    Step,
    /// For a run, which has a network, IPC and names of its own.
    Run,
}

/// Unshares. Afterwards the next child is PID 1 of the new PID namespace.
///
/// Real root keeps its ids; anybody else, such as the root of a container, gets a user namespace with
/// `ids`.
pub(crate) fn enter(namespaces: Namespaces, ids: Ids) -> Result<()> {
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if let Namespaces::Run = namespaces {
        flags |= CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    }
    if is_real_root() {
        unshare(flags).map_err(refused).context("cannot unshare namespaces as root")?;
    } else {
        enter_user_namespace(flags, ids)?;
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make the mounts of the new namespace private")
}

/// Returns true if we are root to whom the kernel refuses nothing that a stage is made with: the ids of the host, and these
/// capabilities (capabilities(7)). A container may have some of them; its root is taken for anybody else then, for whom a
/// user namespace has them all.
pub(crate) fn is_real_root() -> bool {
    const CHOWN: u64 = 1 << 0;
    const SETGID: u64 = 1 << 6;
    const SETUID: u64 = 1 << 7;
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    const MKNOD: u64 = 1 << 27;
    const NEEDED: u64 = CHOWN | SETGID | SETUID | NET_ADMIN | SYS_ADMIN | MKNOD;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let ids = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    geteuid().is_root()
        && effective.is_some_and(|mask| mask & NEEDED == NEEDED)
        && ids.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Why namespaces are refused (unshare(2), user_namespaces(7)).
fn refused(errno: Errno) -> anyhow::Error {
    match errno {
        Errno::ENOSPC => anyhow::anyhow!("no namespace left: a limit in /proc/sys/user is reached"),
        Errno::EPERM => anyhow::anyhow!("namespaces are not granted on this host"),
        other => anyhow::anyhow!("cannot unshare namespaces: {other}"),
    }
}

fn enter_user_namespace(flags: CloneFlags, ids: Ids) -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    let mapper = match ids {
        Ids::Subordinate => Some(Mapper::start()?),
        Ids::Own | Ids::Root => None,
    };
    unshare(flags | CloneFlags::CLONE_NEWUSER).map_err(refused)?;
    if let Some(mapper) = mapper {
        return mapper.map();
    }
    let (inner_uid, inner_gid) = match ids {
        Ids::Own => (uid.as_raw(), gid.as_raw()),
        _ => (0, 0),
    };
    // A single id may be mapped without privilege once setgroups(2) is given up
    // (user_namespaces(7)).
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("{inner_uid} {uid} 1"))?;
    write("/proc/self/gid_map", &format!("{inner_gid} {gid} 1"))
}

fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{text}` to {path}"))
}

/// A child that stays outside of the new namespace: only from there can newuidmap(1) map a range.
struct Mapper {
    pid: Pid,
    go: std::io::PipeWriter,
    done: std::io::PipeReader,
}

impl Mapper {
    fn start() -> Result<Self> {
        let parent = std::process::id();
        let (mut waits, go) = std::io::pipe().context("cannot make a pipe")?;
        let (done, mut says) = std::io::pipe().context("cannot make a pipe")?;
        match fork()? {
            ForkResult::Parent { child } => Ok(Self { pid: child, go, done }),
            ForkResult::Child => {
                drop((go, done));
                let result = match waits.read(&mut [0]) {
                    Ok(1) => map_range(parent),
                    _ => Ok(()),
                };
                if let Err(error) = &result {
                    let _ = says.write_all(format!("{error:#}").as_bytes());
                }
                std::process::exit(i32::from(result.is_err()));
            }
        }
    }

    fn map(mut self) -> Result<()> {
        self.go.write_all(b"x").context("cannot reach the process that maps ids")?;
        drop(self.go);
        let mut error = String::new();
        self.done.read_to_string(&mut error).context("cannot hear from newuidmap")?;
        nix::sys::wait::waitpid(self.pid, None).context("cannot wait for newuidmap")?;
        ensure!(error.is_empty(), "{error}");
        // Become the root that the map just made us.
        nix::unistd::setgid(0.into()).context("cannot become the namespace's root group")?;
        nix::unistd::setuid(0.into()).context("cannot become the namespace's root")
    }
}

fn map_range(process: u32) -> Result<()> {
    if geteuid().is_root() {
        // The root of a container may give away what it was given itself.
        return ["uid_map", "gid_map"].iter().try_for_each(|map| {
            let own = fs::read_to_string(format!("/proc/self/{map}"))?;
            write(&format!("/proc/{process}/{map}"), &identity(&own))
        });
    }
    let user = nix::unistd::User::from_uid(geteuid())
        .ok()
        .flatten()
        .map_or_else(|| geteuid().to_string(), |user| user.name);
    for (tool, file, own) in [
        ("newuidmap", "/etc/subuid", geteuid().as_raw()),
        ("newgidmap", "/etc/subgid", getegid().as_raw()),
    ] {
        let (first, count) = granted(file, &user, geteuid().as_raw())?;
        let output = Command::new(tool)
            .args([process.to_string(), "0".into(), own.to_string(), "1".into()])
            .args(["1".into(), first, count])
            .output()
            .with_context(|| format!("cannot start {tool}: install the package uidmap"))?;
        if !output.status.success() {
            bail!("{tool} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
    }
    Ok(())
}

/// The map that gives a child the same ids as its parent, whose map is `own`.
fn identity(own: &str) -> String {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [inside, _, count] = fields.as_slice() else { return String::new() };
        format!("{inside} {inside} {count}\n")
    };
    own.lines().map(line).collect()
}

/// The range of ids that `file` (subuid(5)) grants to a user.
fn granted(file: &str, user: &str, uid: u32) -> Result<(String, String)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let owner = fields.next()?;
            (owner == user || owner == uid.to_string())
                .then(|| Some((fields.next()?.into(), fields.next()?.into())))?
        })
        .with_context(|| {
            format!(
                "{file} grants no range to {user}: run `sudo usermod --add-subuids \
                 100000-165535 --add-subgids 100000-165535 {user}`"
            )
        })
}

/// Forks this process, which must have no threads.
pub(crate) fn fork() -> Result<ForkResult> {
    // SAFETY: the hidden subcommands are single-threaded, so the child may do whatever its parent
    // may.
    unsafe { nix::unistd::fork() }.context("cannot fork")
}

/// Asks for SIGKILL when the parent dies, and dies at once if it is dead already.
pub(crate) fn die_with_parent(parent: Pid) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .context("cannot bind our life to our parent")?;
    // In a new PID namespace the parent is outside, and shows as 0.
    let now = Pid::parent();
    ensure!(now == parent || now == Pid::from_raw(0), "our parent died");
    Ok(())
}

/// Reaps a child that ended: its id and raw wait status, or nothing if none has.
pub(crate) fn reap() -> Option<(Pid, i32)> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for waitpid(2) to write to.
    let pid = unsafe { nix::libc::waitpid(-1, &mut status, WaitPidFlag::WNOHANG.bits()) };
    (pid > 0).then(|| (Pid::from_raw(pid), status))
}

/// Readable when a child has ended.
pub(crate) fn child_signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().context("cannot block SIGCHLD")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("cannot wait for SIGCHLD")
}

/// Waits until a child has ended, or there is something to read from `other`, its end among others; whether the latter.
pub(crate) fn wait_for_child_or(other: BorrowedFd<'_>, ended: &SignalFd) -> bool {
    let mut fds =
        [PollFd::new(other, PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
    let _ = poll(&mut fds, PollTimeout::NONE);
    let _ = ended.read_signal();
    fds[0].revents().is_some_and(|events| !events.is_empty())
}

/// Gives a child the signal mask that programs expect.
pub(crate) fn unblock_signals() {
    let _ = SigSet::all().thread_unblock();
}

/// Mounts a /proc that shows this PID namespace; where a container masks parts of /proc the kernel
/// refuses, and the host's stays.
pub(crate) fn mount_proc() {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let _ = mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>);
}
