//! The stage of a run: namespaces of its own, with a link and a keeper for each guest.
//!
//! ```text
//! xtask    the host's namespaces; all logic
//!  └ S0    this executable, `__stage`: unshares, forks S1, waits
//!     └ S1 PID 1 of the run: no threads, no logic; serves one socket, its standard input
//!        └ keeper   PID 1 of one guest's own PID namespace: forks UML, waits, says how it ended
//!           └ UML   shut in: a root of its own, few system calls, no privilege
//! ```
//!
//! UML must not be PID 1 of its namespace: the kernel drops default-action signals to a
//! namespace's init, so that `abort()` would never end and a panicked guest would spin for ever
//! (pid_namespaces(7)). When we die, however we die, S1 reads end-of-file and dies too; the kernel
//! then ends every keeper and guest, and namespaces, taps and the tmpfs go with them.
//!
//! Where the host grants no namespaces the same processes are there, and a folder takes the place of the tmpfs (see
//! `ground`). Each of them adopts orphans then and ends what is below it: S1 when nobody asks any more, S0 when S1 is gone,
//! a keeper when S1 or its guest's process is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

pub use crate::confine::Sight;
use crate::invocation;
use crate::isolation::{Isolation, Privilege, STAGE};

mod asking;
mod attachment;
mod channel;
mod disks;
mod door;
mod ground;
mod handle;
mod host_file;
mod host_stack;
mod interface_end;
mod keeper;
mod link;
mod links;
mod mconsole;
mod packets;
mod placement;
mod process;
mod serve;
mod share;
mod sockets;
mod tap;
mod withheld;

use asking::{Asking, PATIENCE};
pub use attachment::Attachment;
use channel::StageRequest;
pub(crate) use door::path as door_path;
pub(crate) use ground::place_of_folder;
use host_stack::HostStack;
pub(crate) use interface_end::poll_timeout;
pub use interface_end::{HEADER, InterfaceEnd, LONGEST};
pub use link::Link;
pub use process::{GuestProcess, GuestStatus};
use serve::Told;
pub(crate) use serve::serve;
pub use share::Share;
pub(crate) use share::cpus;
pub use sockets::Listener;

/// What a run needs of its stage.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// An upper bound for the memory and the COW of one guest together, in bytes.
    pub size: u64,
    /// What the network interfaces of guests are attached to.
    pub attachment: Attachment,
}

/// A command for a guest's keeper.
#[derive(Debug)]
pub struct GuestCommand {
    /// The kernel binary and its arguments.
    pub argv: Vec<OsString>,
    /// What it sees of the host and of the stage.
    pub sight: Sight,
    /// What it gets of the host.
    pub share: Share,
    /// How much each of its processes may map, in bytes, if that is bounded.
    pub address_space: Option<u64>,
    /// Where standard output and standard error go. A terminal is standard input too.
    pub console: OwnedFd,
}

/// The time the end of a stage may take before it is forced.
const END: Duration = Duration::from_secs(5);

/// The stage of a run. Dropping it ends everything on it.
#[derive(Debug)]
pub struct Stage {
    asking: Asking,
    /// Where its files are, as its guests see them.
    dir: PathBuf,
    child: Child,
    guests: AtomicU16,
    host_files: Mutex<BTreeMap<PathBuf, Sight>>,
    attachment: Attachment,
    /// The host's ends of links that have no tap, by their number.
    host_stacks: Mutex<BTreeMap<u16, Arc<HostStack>>>,
}

impl Stage {
    /// Sets the stage. Call this on the main thread: a parent-death signal follows the thread that
    /// forked (PR_SET_PDEATHSIG in prctl(2)).
    ///
    /// # Errors
    /// When this host refuses what guests need; the error says what.
    pub fn start(isolation: &Isolation, options: &StageOptions) -> Result<Self> {
        if let Some(refused) = isolation.refused_to_guests(options.attachment.is_tap()) {
            let why = refused.result.as_ref().err().map_or("", |why| why);
            bail!(
                "guests cannot run on this host: {}: {why}; `{} doctor` says more",
                refused.facility,
                invocation::command()
            );
        }
        let told = Told {
            size: options.size,
            attachment: options.attachment,
            apart: *isolation.privilege() != Privilege::None,
        };
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .context("cannot make a socket for the stage")?;
        let mut child = isolation
            .hidden(STAGE)
            .args(told.arguments())
            .stdin(Stdio::from(theirs))
            .spawn()
            .context("cannot start the stage")?;
        let (asking, dir) = match Asking::begin(ours) {
            Ok(begun) => begun,
            Err(error) => {
                // It may not even have begun.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(error).context("cannot set the stage");
            }
        };
        Ok(Self {
            asking,
            dir,
            child,
            guests: AtomicU16::new(0),
            host_files: Mutex::default(),
            attachment: options.attachment,
            host_stacks: Mutex::default(),
        })
    }

    /// Makes a file of the host visible to guests under a short name, whoever may read the folders
    /// above it. Returns its path on the stage.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn expose(&self, path: &Path, name: &str) -> Result<PathBuf> {
        let request = StageRequest::Expose { path: path.to_owned(), name: name.into() };
        let file = host_file::open(path)?;
        self.ask(&request, &[file.as_fd()])
            .with_context(|| format!("cannot show {} to guests", path.display()))?;
        Ok(self.dir.join(name))
    }

    /// Like [`Stage::expose`], for a file that a guest may write to. Where they run as an
    /// unprivileged user, the file becomes that user's.
    ///
    /// # Errors
    /// When it cannot be mounted, or given away.
    pub fn lend(&self, path: &Path, name: &str) -> Result<PathBuf> {
        let request = StageRequest::Lend { path: path.to_owned(), name: name.into() };
        let file = host_file::open(path)?;
        self.ask(&request, &[file.as_fd()])
            .with_context(|| format!("cannot lend {} to a guest", path.display()))?;
        Ok(self.dir.join(name))
    }

    /// Takes back what was lent under that name.
    ///
    /// # Errors
    /// When it cannot be unmounted.
    pub fn withdraw(&self, name: &str) -> Result<()> {
        self.ask(&StageRequest::Withdraw { name: name.into() }, &[])
            .context("cannot take back what was lent to a guest")?;
        Ok(())
    }

    /// What every guest with this kernel sees of the host: the libraries that it is linked with, and the device of taps where
    /// it has one; found once.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn host_files(&self, kernel: &Path) -> Result<Sight> {
        let mut known = self.host_files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sight) = known.get(kernel) {
            return Ok(sight.clone());
        }
        let sight = Sight::of_program(kernel)?;
        let sight = if self.attachment.is_tap() { sight.with_tap() } else { sight };
        known.insert(kernel.to_owned(), sight.clone());
        Ok(sight)
    }

    /// Starts a guest with a keeper of its own.
    ///
    /// # Errors
    /// When the keeper cannot be started.
    pub fn spawn(&self, link: &Link, command: &GuestCommand) -> Result<GuestProcess<'_>> {
        let (status, theirs) = std::io::pipe().context("cannot make a pipe")?;
        let request = StageRequest::Spawn {
            argv: command.argv.clone(),
            sight: command.sight.clone(),
            share: command.share,
            address_space: command.address_space,
            index: link.index(),
        };
        let fds = [command.console.as_fd(), theirs.as_fd()];
        let (id, handle) = self.ask(&request, &fds).context("cannot start a guest")?;
        Ok(GuestProcess::new(self, id, handle.into_iter().next(), status.into()))
    }

    /// Ends the guest whose process is known by this at once, with all of its helper processes; none if it is gone.
    pub fn kill(&self, id: i32) {
        let _ = self.ask(&StageRequest::Kill { id }, &[]);
    }

    /// Sends a command to the management console of the link's guest. Whatever it answers goes to
    /// the guest's own console.
    ///
    /// # Errors
    /// When the guest has none, or does not take it.
    pub fn mconsole(&self, link: &Link, command: &str) -> Result<()> {
        let request = StageRequest::Mconsole { index: link.index(), command: command.into() };
        self.ask(&request, &[]).context("cannot reach a guest's management console")?;
        Ok(())
    }

    /// Ends everything on the stage, and waits until it is gone.
    ///
    /// # Errors
    /// When the stage cannot be waited for.
    pub fn shutdown(mut self) -> Result<()> {
        self.end().context("cannot wait for the end of the stage")
    }

    fn end(&mut self) -> std::io::Result<()> {
        self.asking.end();
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // S1 asked to die with S0, and the kernel ends whatever runs in its namespaces. In a folder it has heard by
        // itself that this is the end.
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn ask(&self, request: &StageRequest, fds: &[BorrowedFd<'_>]) -> Result<(i32, Vec<OwnedFd>)> {
        self.asking.ask(Instant::now() + PATIENCE, request, fds)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
