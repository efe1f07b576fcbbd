//! A step on the host that cannot outlive us: PID 1 of its own namespace holds a lifeline to us.
//!
//! `xtask __contain IDS -- PROGRAM ARGS` has the read end of a pipe as standard input. When the
//! pipe's other end closes (we are done with it, or dead), PID 1 exits, and the kernel kills
//! everything in the namespace.

use std::ffi::{OsStr, OsString};
use std::io::PipeWriter;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};
use nix::unistd::{ForkResult, Pid, getpid, setsid};

mod filter;
mod shut;

use super::descendants::{Search, adopt_orphans, end_own_descendants};
use super::namespace::{child_signals, mount_proc, unblock_signals, wait_for_child_or};
use super::{CONTAIN, FAILED, Ids, Namespaces, die_with_parent, enter, fork, reap};

pub(super) use shut::serve as serve_shut;
pub use shut::{Exceeded, Shown, ShutLimits, shut_in};

/// A contained command that was started. Dropping it ends everything in it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lifeline: Option<PipeWriter>,
}

impl Running {
    /// Starts the command, whose standard input becomes its lifeline.
    pub(super) fn start(mut command: Command) -> Result<Self> {
        let (lifeline, ours) = std::io::pipe().context("cannot make a lifeline")?;
        let child = command.stdin(Stdio::from(OwnedFd::from(lifeline))).spawn();
        Ok(Self { child: child.context("cannot start a contained program")?, lifeline: Some(ours) })
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().context("cannot wait for a contained step")
    }

    /// Ends the command and whatever it started, and waits until all of it is gone.
    pub fn kill(&mut self) {
        drop(self.lifeline.take());
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Serves `__contain`: stays outside of the PID namespace, and passes on its end.
pub(super) fn serve(args: &[OsString]) -> Result<i32> {
    let [ids, program, args @ ..] = args else { anyhow::bail!("usage: {CONTAIN} IDS PROGRAM …") };
    // Ctrl-C is for the process that started us alone.
    setsid().context("cannot start a session")?;
    let ids = ids.to_string_lossy();
    let apart = ids != "none";
    if apart {
        enter(Namespaces::Step, Ids::named(&ids)?)?;
    }
    let own = getpid();
    let ForkResult::Parent { child } = fork()? else {
        let code = init(own, apart, program, args).unwrap_or_else(|error| {
            eprintln!("{error:#}");
            FAILED
        });
        std::process::exit(code);
    };
    let mut status = 0;
    // SAFETY: `status` is a valid place for waitpid(2) to write to.
    unsafe { nix::libc::waitpid(child.as_raw(), &mut status, 0) };
    Ok(ExitStatus::from_raw(status).code().unwrap_or(FAILED))
}

/// PID 1: ends when the command ends or the lifeline breaks. An exit code above 128 stands for a
/// signal, as in a shell.
fn init(outside: Pid, apart: bool, program: &OsStr, args: &[OsString]) -> Result<i32> {
    die_with_parent(outside)?;
    if apart {
        mount_proc();
    } else {
        // Without a namespace, orphans at least come to us and not to the host's init.
        adopt_orphans()?;
    }
    let ended = child_signals()?;
    let main = match fork()? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            unblock_signals();
            if !apart {
                let _ = setsid();
            }
            let error = Command::new(program).args(args).stdin(Stdio::null()).exec();
            eprintln!("cannot start {}: {error}", program.to_string_lossy());
            std::process::exit(127);
        }
    };
    let stdin = std::io::stdin();
    loop {
        let broken = wait_for_child_or(stdin.as_fd(), &ended);
        let mut end = broken.then_some(FAILED);
        while let Some((pid, status)) = reap() {
            if pid == main {
                let status = ExitStatus::from_raw(status);
                end = Some(status.code().unwrap_or(128 + status.signal().unwrap_or(0)));
            }
        }
        if let Some(code) = end {
            if !apart {
                end_own_descendants(Search::All);
            }
            return Ok(code);
        }
    }
}
