//! The keeper of one guest: PID 1 of the guest's own PID namespace.

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal as _, PipeReader, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signalfd::SignalFd;
use nix::unistd::{ForkResult, Pid, getpid, setsid};

use super::ground::{Apart, Ground};
use super::placement::{self, Placed};
use super::share::Share;
use crate::confine::{Proc, ResourceLimits, Sight, SyscallFilter, close_others, landlock, shut_in};
use crate::isolation::{
    Search, adopt_orphans, child_signals, die_with_parent, end_own_descendants, fork, mount_proc,
    reap, unblock_signals, wait_for_child_or,
};

/// What a keeper starts.
pub(super) struct KeptGuest<'a> {
    pub argv: Vec<OsString>,
    pub sight: Sight,
    pub share: Share,
    pub limits: ResourceLimits,
    pub filter: &'a SyscallFilter,
    /// What its stage is made of, and the number of its link there.
    pub ground: &'a Ground,
    pub index: u16,
    /// Working directory, and the place for memory files.
    pub dir: String,
}

/// Starts a keeper; `fds` are the guest's console and the pipe for its status.
///
/// clone(2) and not unshare(2): the latter serves one child only, after whose end every fork
/// fails with ENOMEM.
pub(super) fn start(guest: &KeptGuest<'_>, fds: Vec<OwnedFd>) -> Result<Pid> {
    let [console, status]: [OwnedFd; 2] =
        fds.try_into().ok().context("a guest comes with two descriptors")?;
    let mut stack = vec![0; 256 << 10];
    let mut pipe = File::from(status);
    let flags = match guest.ground {
        Ground::Apart(_) => {
            CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC
        }
        Ground::Folder(_) => CloneFlags::empty(),
    };
    let body = Box::new(|| match keep(guest, &console) {
        Ok(raw) => {
            let _ = pipe.write_all(&raw.to_ne_bytes());
            0
        }
        Err(error) => {
            // What goes to the console is shown with the report of a guest that did not come up.
            let _ = nix::unistd::write(&console, format!("{error:#}\n").as_bytes());
            1
        }
    });
    // SAFETY: this process has no threads, and the child shares no memory with it (no CLONE_VM).
    unsafe { nix::sched::clone(body, &mut stack, flags, Some(nix::libc::SIGCHLD)) }
        .context("cannot clone a keeper")
}

/// Forks UML, reaps whatever it leaves, and returns its raw wait status.
fn keep(guest: &KeptGuest<'_>, console: &OwnedFd) -> Result<i32> {
    unblock_signals();
    // The stage's socket is the run's lifeline: nobody else may hold it.
    nix::unistd::dup2_stdin(File::open("/dev/null").context("cannot open /dev/null")?)?;
    let (proc, lifeline) = match guest.ground {
        Ground::Apart(apart) => {
            mount_proc();
            let network = apart.network(guest.index)?;
            setns(network, CloneFlags::CLONE_NEWNET).context("cannot enter a guest's network")?;
            let proc = Proc::open().ok();
            guest.sight.enter(Path::new(&guest.dir))?;
            (proc, None)
        }
        Ground::Folder(folder) => {
            adopt_orphans()?;
            (Proc::open().ok(), Some((folder.lifeline()?, child_signals()?)))
        }
    };
    let (own, in_folder, is_settled) = (getpid(), lifeline.is_some(), placement::settle());
    let start = || -> Result<Pid> {
        let ForkResult::Parent { child } = fork()? else {
            let error = prepare_child(in_folder, own, !is_settled)
                .map_or_else(|error| error, |()| become_guest(guest, console, proc.as_ref()));
            let _ = nix::unistd::write(console, format!("{error:#}\n").as_bytes());
            std::process::exit(127);
        };
        Ok(child)
    };
    let child = match is_settled {
        true => start()?,
        false => match placement::place(proc.as_ref(), start)? {
            Placed::Runs(child) => child,
            Placed::Ended(status) => return Ok(status),
        },
    };
    match lifeline {
        None => wait_for(child),
        Some((lifeline, ended)) => wait_in_folder(child, lifeline, &ended),
    }
}

/// What a keeper's child does before it becomes a guest.
fn prepare_child(in_folder: bool, keeper: Pid, is_traced: bool) -> Result<()> {
    if in_folder {
        unblock_signals();
        die_with_parent(keeper)?;
    }
    if is_traced {
        nix::sys::ptrace::traceme().context("cannot be traced")?;
    }
    Ok(())
}

/// Reaps until this child has ended: its raw wait status.
fn wait_for(child: Pid) -> Result<i32> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for waitpid(2) to write to.
        let pid = unsafe { nix::libc::waitpid(-1, &mut status, 0) };
        if pid == child.as_raw() {
            return Ok(status);
        }
        ensure!(pid > 0, "the guest vanished");
    }
}

/// The same where no namespace ends what is below us: once the child has ended, or S1, all else is ended too.
fn wait_in_folder(child: Pid, lifeline: &PipeReader, ended: &SignalFd) -> Result<i32> {
    loop {
        let broken = wait_for_child_or(lifeline.as_fd(), ended);
        let status = std::iter::from_fn(reap).find(|(pid, _)| *pid == child);
        if broken || status.is_some() {
            // What this misses comes to S1 then, which looks too.
            end_own_descendants(Search::Lists);
            return status.map(|(_, status)| status).context("the stage ended");
        }
    }
}

/// Turns this process into UML; returns only the reason why not.
fn become_guest(guest: &KeptGuest<'_>, console: &OwnedFd, proc: Option<&Proc>) -> anyhow::Error {
    let [kernel, args @ ..] = guest.argv.as_slice() else {
        return anyhow::anyhow!("a guest needs a command line");
    };
    let (Ok(out), Ok(err)) = (console.try_clone(), console.try_clone()) else {
        return anyhow::anyhow!("cannot duplicate the console");
    };
    // UML looks for a place for its memory in these before it tries /dev/shm.
    let mut command = Command::new(kernel);
    command.args(args).current_dir(&guest.dir).env_clear();
    for name in ["TMP", "TEMP", "TMPDIR", "HOME"] {
        command.env(name, &guest.dir);
    }
    // UML starts helpers such as port-helper by name.
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    // A pipe carries output only; on a terminal sits a person, or whoever drives it.
    match (console.is_terminal(), console.try_clone()) {
        (true, Ok(input)) => command.stdin(input),
        _ => command.stdin(Stdio::null()),
    };
    command.stdout(out).stderr(err);
    if let Err(error) = prepare(guest, proc) {
        return error;
    }
    let error = command.exec();
    let kernel = String::from_utf8_lossy(&kernel.clone().into_vec()).into_owned();
    anyhow::Error::new(error).context(format!("cannot start {kernel}"))
}

fn prepare(guest: &KeptGuest<'_>, proc: Option<&Proc>) -> Result<()> {
    // A panicked UML signals its whole process group.
    setsid().context("cannot start a session")?;
    guest.share.apply_to_self(proc);
    let was_root = guest.ground.apart().is_ok_and(Apart::was_root);
    shut_in(was_root, guest.limits, proc)?;
    // Where this host has none of these, `doctor` says so.
    let _ = landlock(&guest.sight, Path::new(&guest.dir));
    close_others();
    let _ = guest.filter.apply();
    Ok(())
}
