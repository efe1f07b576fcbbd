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

use super::facility::{Facility, Tried};
use super::{Ids, Isolation, Namespaces, PROBE, Privilege, enter, fork, is_real_root};
use crate::confine::{
    DIR, TUN, drop_privileges, swap_roots, try_filter, try_landlock, try_own_user_namespace,
};

/// Whether the kernel refuses us nothing; this is for choosing the privilege, and no facility.
const ROOT: &str = "root";

/// What a probe found.
#[derive(Debug, Default)]
pub(super) struct Probed {
    pub is_root: bool,
    pub tried: Vec<Tried>,
}

/// Starts the child that tries, and reads what it says.
pub(super) fn ask(exe: &Path) -> Result<Probed> {
    let isolation =
        Isolation { exe: exe.to_owned(), privilege: Privilege::None, tried: Vec::new() };
    let output = isolation
        .hidden(PROBE)
        .output()
        .with_context(|| format!("cannot start {}", exe.display()))?;
    let mut probed = Probed::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((name, error)) = line.split_once('\t') else { continue };
        let result = if error.is_empty() { Ok(()) } else { Err(error.to_owned()) };
        match Facility::named(name) {
            Some(facility) => probed.tried.push(Tried { facility, result }),
            None => probed.is_root |= name == ROOT && result.is_ok(),
        }
    }
    Ok(probed)
}

fn say(facility: Facility, result: Result<()>) {
    say_named(facility.name(), result);
}

fn say_named(name: &str, result: Result<()>) {
    let error = result.err().map_or_else(String::new, |error| format!("{error:#}"));
    println!("{name}\t{}", error.replace('\n', " "));
}

/// Serves `__probe`: one line for each facility, `NAME TAB ERROR`.
pub(super) fn serve(_: &[OsString]) -> Result<i32> {
    let was_root = is_real_root();
    say_named(ROOT, was_root.then_some(()).context("not the root of the host"));
    let entered = enter(Namespaces::Run, Ids::Root);
    let refused = entered.is_err();
    say(Facility::Namespaces, entered);
    if refused {
        say_walls(was_root);
        return Ok(0);
    }
    // The PID namespace has no init until there is a child: what follows runs as one.
    match fork()? {
        ForkResult::Parent { child } => match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => Ok(code),
            other => anyhow::bail!("the probe ended with {other:?}"),
        },
        ForkResult::Child => {
            say(Facility::Tmpfs, try_tmpfs());
            say(
                Facility::Loopback,
                uml_protocol::interface::bring_up("lo").context("cannot bring the loopback up"),
            );
            say(Facility::Tap, try_tap());
            say_walls(was_root);
            say(
                Facility::ProcessLimit,
                in_a_guests_place(was_root, || errno_of(try_own_user_namespace())),
            );
            // Afterwards there is nothing left to try anything with.
            say(Facility::PivotRoot, in_a_child(try_root));
            std::process::exit(0);
        }
    }
}

/// What guests need of their host wherever they are, and what walls they have there.
fn say_walls(was_root: bool) {
    say(Facility::Ptrace, in_a_guests_place(was_root, trace_a_child));
    say(Facility::Personality, in_a_guests_place(was_root, keep_addresses));
    say(Facility::Seccomp, in_a_guests_place(was_root, || errno_of(try_filter())));
    say(Facility::Landlock, in_a_guests_place(was_root, || errno_of(try_landlock())));
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
