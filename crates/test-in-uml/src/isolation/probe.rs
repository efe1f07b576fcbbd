//! What a host grants, found by trying it in a child: on some hosts unshare(2) succeeds and
//! everything after it is denied.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::personality::{self, Persona};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::ForkResult;

use super::{Ids, Isolation, Namespaces, PROBE, Privilege, enter, fork, is_real_root};
use crate::confine::{
    DIR, TUN, drop_privileges, swap_roots, try_filter, try_landlock, try_own_user_namespace,
};

pub(super) const NAMESPACES: &str = "namespaces";
/// Whether the kernel refuses us nothing; this is for choosing the privilege, and no facility.
pub(super) const ROOT: &str = "root";
pub(super) const TMPFS: &str = "tmpfs";
/// What guests can do without: the first costs memory, the others are walls behind a wall.
const PERSONALITY: &str = "personality";
const LANDLOCK: &str = "landlock";
const FILTER: &str = "seccomp";
const PROCESSES: &str = "process limit";

/// Something that a run needs of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facility {
    /// Its name, as `doctor` shows it.
    pub name: String,
    /// Why it is not to be had.
    pub result: Result<(), String>,
}

impl Facility {
    /// Whether guests cannot do without it.
    pub(super) fn is_needed(&self) -> bool {
        ![PERSONALITY, LANDLOCK, FILTER, PROCESSES].contains(&self.name.as_str())
    }
}

/// Starts the child that tries, and reads what it says.
pub(super) fn ask(exe: &Path) -> Result<Vec<Facility>> {
    let isolation =
        Isolation { exe: exe.to_owned(), privilege: Privilege::None, facilities: Vec::new() };
    let output = isolation
        .hidden(PROBE)
        .output()
        .with_context(|| format!("cannot start {}", exe.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Facility> {
    let (name, error) = line.split_once('\t')?;
    let result = if error.is_empty() { Ok(()) } else { Err(error.into()) };
    Some(Facility { name: name.into(), result })
}

fn say(name: &str, result: Result<()>) {
    let error = result.err().map_or_else(String::new, |error| format!("{error:#}"));
    println!("{name}\t{}", error.replace('\n', " "));
}

/// Serves `__probe`: one line for each facility, `NAME TAB ERROR`.
pub(super) fn serve(_: &[OsString]) -> Result<i32> {
    let was_root = is_real_root();
    say(ROOT, was_root.then_some(()).context("not the root of the host"));
    let entered = enter(Namespaces::Run, Ids::Root);
    let refused = entered.is_err();
    say(NAMESPACES, entered);
    if refused {
        return Ok(0);
    }
    // The PID namespace has no init until there is a child: what follows runs as one.
    match fork()? {
        ForkResult::Parent { child } => match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => Ok(code),
            other => anyhow::bail!("the probe ended with {other:?}"),
        },
        ForkResult::Child => {
            say(TMPFS, try_tmpfs());
            say(
                "loopback",
                uml_protocol::interface::bring_up("lo").context("cannot bring the loopback up"),
            );
            say("tap", try_tap());
            say("ptrace", in_a_guests_place(was_root, trace_a_child));
            say(PERSONALITY, in_a_guests_place(was_root, keep_addresses));
            say(FILTER, in_a_guests_place(was_root, || errno_of(try_filter())));
            say(LANDLOCK, in_a_guests_place(was_root, || errno_of(try_landlock())));
            say(PROCESSES, in_a_guests_place(was_root, || errno_of(try_own_user_namespace())));
            // Afterwards there is nothing left to try anything with.
            say("pivot_root", in_a_child(try_root));
            std::process::exit(0);
        }
    }
}

fn try_tmpfs() -> Result<()> {
    mount(Some("probe"), DIR, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount a tmpfs on {}", DIR))
}

fn try_tap() -> Result<()> {
    let tun = File::options()
        .read(true)
        .write(true)
        .open(TUN)
        .with_context(|| format!("cannot open {}", TUN))?;
    let mut request = uml_protocol::interface::request("probe");
    request.ifr_ifru.ifru_flags = (nix::libc::IFF_TAP | nix::libc::IFF_NO_PI) as i16;
    // SAFETY: the request is a whole `ifreq`, and outlives the call.
    let done = unsafe { nix::libc::ioctl(tun.as_raw_fd(), nix::libc::TUNSETIFF, &request) };
    nix::errno::Errno::result(done).map(drop).context("cannot make a tap")
}

/// Tries something as a guest would do it: without privileges.
fn in_a_guests_place(was_root: bool, attempt: fn() -> nix::Result<()>) -> Result<()> {
    in_a_child(|| match drop_privileges(was_root) {
        Ok(()) => attempt(),
        Err(_) => Err(Errno::EPERM),
    })
}

fn in_a_child(attempt: impl FnOnce() -> nix::Result<()>) -> Result<()> {
    let ForkResult::Parent { child } = fork()? else {
        std::process::exit(attempt().map_or_else(|errno| errno as i32, |()| 0));
    };
    match waitpid(child, None).context("cannot wait for an attempt")? {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, errno) => Err(anyhow::anyhow!("refused: {}", Errno::from_raw(errno))),
        other => Err(anyhow::anyhow!("an attempt ended with {other:?}")),
    }
}

/// What the kernel said, or that it has none of what was asked for.
fn errno_of(result: Result<()>) -> nix::Result<()> {
    result.map_err(|error| match error.root_cause().downcast_ref() {
        Some(errno) => *errno,
        None => Errno::ENOSYS,
    })
}

/// The tmpfs that was tried becomes the root.
fn try_root() -> nix::Result<()> {
    nix::unistd::chdir(DIR)?;
    errno_of(swap_roots())
}

/// What User Mode Linux does with each process of its guest.
fn trace_a_child() -> nix::Result<()> {
    // SAFETY: this process has no threads.
    let ForkResult::Parent { child } = unsafe { nix::unistd::fork() }? else {
        let traced = ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP));
        std::process::exit(traced.map_or_else(|errno| errno as i32, |()| 0));
    };
    match waitpid(child, None)? {
        WaitStatus::Stopped(..) => {}
        WaitStatus::Exited(_, errno) => return Err(Errno::from_raw(errno)),
        _ => return Err(Errno::EPERM),
    }
    ptrace::setoptions(child, ptrace::Options::PTRACE_O_TRACESYSGOOD)?;
    ptrace::getregs(child)?;
    ptrace::kill(child)
}

fn keep_addresses() -> nix::Result<()> {
    personality::set(personality::get()? | Persona::ADDR_NO_RANDOMIZE).map(drop)
}
