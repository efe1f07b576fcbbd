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

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, listen, setsockopt,
    socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::isolation::{Isolation, STAGE};

mod channel;
mod keeper;
mod link;
mod mconsole;
mod privileges;
mod seccomp;
mod serve;
mod share;
mod withheld;
mod sight;

use channel::{Numbered, Reply, Request};
pub use link::Link;
pub(crate) use privileges::{drop_privileges, try_landlock, try_own_user_namespace};
pub(crate) use seccomp::try_filter;
pub(crate) use serve::serve;
pub use share::Share;
pub(crate) use share::cpus;
pub use withheld::Withheld;
pub use sight::Sight;
pub(crate) use sight::swap_roots;

/// Where S1 mounts the run's private tmpfs: guest memory, COWs, `uml_dir`.
///
/// It exists on every host, holds nobody's files, which a mount would hide from the guests, and is
/// short: the path of mconsole's socket must fit a `sockaddr_un`.
pub const DIR: &str = "/sys";

/// The device that taps are made with.
pub const TUN: &str = "/dev/net/tun";

/// What a run needs of its stage.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// An upper bound for the memory and the COW of one guest together, in bytes.
    pub size: u64,
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

/// How long the stage may take to answer. It does nothing that takes long; but it may have been stopped.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the end of a stage may take before it is forced.
const END: Duration = Duration::from_secs(5);

/// The stage of a run. Dropping it ends everything on it.
#[derive(Debug)]
pub struct Stage {
    /// Nothing while a request is under way.
    socket: Mutex<Option<Socket>>,
    freed: Condvar,
    child: Child,
    guests: AtomicU16,
    libraries: Mutex<BTreeMap<PathBuf, Sight>>,
}

impl Stage {
    /// Sets the stage. Call this on the main thread: a parent-death signal follows the thread that
    /// forked (PR_SET_PDEATHSIG in prctl(2)).
    ///
    /// # Errors
    /// When this host refuses what guests need; the error says what.
    pub fn start(isolation: &Isolation, options: &StageOptions) -> Result<Self> {
        if let Some(refused) = isolation.refused_to_guests() {
            let why = refused.result.as_ref().err().map_or("", |why| why);
            bail!(
                "guests cannot run on this host: {}: {why}; `cargo xtask doctor` says more",
                refused.name
            );
        }
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .context("cannot make a socket for the stage")?;
        let child = isolation
            .hidden(STAGE)
            .arg(options.size.to_string())
            .stdin(Stdio::from(theirs))
            .spawn()
            .context("cannot start the stage")?;
        let mut socket = Socket { fd: ours, asked: 0 };
        let stage = Self {
            socket: Mutex::new(None),
            freed: Condvar::new(),
            child,
            guests: AtomicU16::new(0),
            libraries: Mutex::new(BTreeMap::new()),
        };
        socket.reply(Instant::now() + PATIENCE).context("cannot set the stage")?;
        stage.give_back(socket);
        Ok(stage)
    }

    /// Adds a link for one more guest.
    ///
    /// # Errors
    /// When the tap cannot be made.
    pub fn add_link(&self) -> Result<Link> {
        let link = Link::numbered(self.guests.fetch_add(1, Ordering::Relaxed))?;
        self.ask(&Request::AddLink { index: link.index() }, &[])
            .context("cannot make a link for a guest")?;
        Ok(link)
    }

    /// Removes the link of a guest that is gone, with its COW and all else in its folder.
    ///
    /// # Errors
    /// When the tap cannot be removed.
    pub fn remove_link(&self, link: &Link) -> Result<()> {
        self.ask(&Request::RemoveLink { index: link.index() }, &[])
            .context("cannot remove the link of a guest")?;
        Ok(())
    }

    /// Makes a file of the host visible to guests under a short name, whoever may read the folders
    /// above it. Returns its path on the stage.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn expose(&self, path: &Path, name: &str) -> Result<PathBuf> {
        let request = Request::Expose { path: path.to_owned(), name: name.into() };
        self.ask(&request, &[])
            .with_context(|| format!("cannot show {} to guests", path.display()))?;
        Ok(Path::new(DIR).join(name))
    }

    /// Like [`Stage::expose`], for a file that a guest may write to. Where they run as an
    /// unprivileged user, the file becomes that user's.
    ///
    /// # Errors
    /// When it cannot be mounted, or given away.
    pub fn lend(&self, path: &Path, name: &str) -> Result<PathBuf> {
        let request = Request::Lend { path: path.to_owned(), name: name.into() };
        self.ask(&request, &[])
            .with_context(|| format!("cannot lend {} to a guest", path.display()))?;
        Ok(Path::new(DIR).join(name))
    }

    /// A sight of the libraries that a kernel is linked with, and nothing else; found once.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn libraries(&self, kernel: &Path) -> Result<Sight> {
        let mut known = self.libraries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sight) = known.get(kernel) {
            return Ok(sight.clone());
        }
        let sight = Sight::of_program(kernel)?;
        known.insert(kernel.to_owned(), sight.clone());
        Ok(sight)
    }

    /// Starts a guest with a keeper of its own.
    ///
    /// # Errors
    /// When the keeper cannot be started.
    pub fn spawn(&self, link: &Link, command: &GuestCommand) -> Result<GuestProcess<'_>> {
        let (status, theirs) = std::io::pipe().context("cannot make a pipe")?;
        let request = Request::Spawn {
            argv: command.argv.clone(),
            sight: command.sight.clone(),
            share: command.share,
            address_space: command.address_space,
            index: link.index(),
        };
        let fds = [command.console.as_fd(), theirs.as_fd()];
        let (id, _) = self.ask(&request, &fds).context("cannot start a guest")?;
        Ok(GuestProcess { stage: self, id, status: File::from(OwnedFd::from(status)) })
    }

    /// Sends a command to the management console of the link's guest. Whatever it answers goes to
    /// the guest's own console.
    ///
    /// # Errors
    /// When the guest has none, or does not take it.
    pub fn mconsole(&self, link: &Link, command: &str) -> Result<()> {
        let request = Request::Mconsole { index: link.index(), command: command.into() };
        self.ask(&request, &[]).context("cannot reach a guest's management console")?;
        Ok(())
    }

    /// Connects to an address on the stage. The socket is made there and stays there, so that the
    /// stream works like any other.
    ///
    /// # Errors
    /// When nobody answers within `timeout`.
    pub fn connect(&self, address: SocketAddrV4, timeout: Duration) -> Result<TcpStream> {
        let deadline = Instant::now() + timeout;
        let socket = self.socket(*address.ip(), deadline)?;
        // connect(2) honours the send timeout (socket(7)).
        setsockopt(&socket, sockopt::SendTimeout, &left_until(deadline))
            .context("cannot limit a connect")?;
        connect(socket.as_raw_fd(), &SockaddrIn::from(address))
            .with_context(|| format!("cannot connect to {address}"))?;
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::zero())
            .context("cannot lift the limit of a connect")?;
        Ok(TcpStream::from(socket))
    }

    /// Listens on the host end of a link.
    ///
    /// # Errors
    /// When the address is not of this stage, or its port is taken.
    pub fn listen(&self, host: Ipv4Addr, port: u16) -> Result<TcpListener> {
        let socket = self.socket(host, Instant::now() + PATIENCE)?;
        let address = SocketAddrV4::new(host, port);
        bind(socket.as_raw_fd(), &SockaddrIn::from(address))
            .and_then(|()| listen(&socket, Backlog::MAXCONN))
            .with_context(|| format!("cannot listen on {address}"))?;
        Ok(TcpListener::from(socket))
    }

    /// Ends everything on the stage, and waits until it is gone.
    ///
    /// # Errors
    /// When the stage cannot be waited for.
    pub fn shutdown(mut self) -> Result<()> {
        self.end().context("cannot wait for the end of the stage")
    }

    fn end(&mut self) -> std::io::Result<()> {
        drop(self.socket.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // S1 asked to die with S0, and the kernel ends whatever runs in its namespaces.
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn socket(&self, address: Ipv4Addr, deadline: Instant) -> Result<OwnedFd> {
        let request = Request::Socket { index: Link::of_address(address)?.index() };
        let (_, fds) = self.ask_until(deadline, &request, &[]).context("cannot make a socket")?;
        fds.into_iter().next().context("the stage sent no socket")
    }

    fn ask(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(i32, Vec<OwnedFd>)> {
        self.ask_until(Instant::now() + PATIENCE, request, fds)
    }

    fn ask_until(
        &self,
        deadline: Instant,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(i32, Vec<OwnedFd>)> {
        let mut socket = self.take_socket(deadline)?;
        let answer = socket.ask(deadline, request, fds);
        self.give_back(socket);
        answer
    }

    /// Waits for the requests of other threads.
    fn take_socket(&self, deadline: Instant) -> Result<Socket> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.freed.wait_timeout_while(socket, left, |socket| socket.is_none());
        let (mut socket, _) = waited.unwrap_or_else(PoisonError::into_inner);
        socket.take().context(NO_ANSWER)
    }

    fn give_back(&self, socket: Socket) {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
        self.freed.notify_one();
    }
}

const NO_ANSWER: &str = "the stage does not answer";

/// Our end of the stage's socket.
#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    /// How many requests were made. The reply to one that nobody waits for any more is passed over.
    asked: u64,
}

impl Socket {
    fn ask(
        &mut self,
        deadline: Instant,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(i32, Vec<OwnedFd>)> {
        self.asked += 1;
        setsockopt(&self.fd, sockopt::SendTimeout, &left_until(deadline))
            .context("cannot limit a request")?;
        let request = Numbered { number: self.asked, message: request };
        channel::send(self.fd.as_fd(), &request, fds).context("the stage does not listen")?;
        self.reply(deadline)
    }

    fn reply(&mut self, deadline: Instant) -> Result<(i32, Vec<OwnedFd>)> {
        loop {
            ensure!(Instant::now() < deadline, NO_ANSWER);
            setsockopt(&self.fd, sockopt::ReceiveTimeout, &left_until(deadline))
                .context("cannot limit a request")?;
            match channel::receive(self.fd.as_fd()).context(NO_ANSWER)? {
                Some((Numbered { number, .. }, _)) if number != self.asked => {}
                Some((Numbered { message: Reply::Done { id }, .. }, fds)) => return Ok((id, fds)),
                Some((Numbered { message: Reply::Failed { why }, .. }, _)) => bail!(why),
                None => bail!("the stage ended"),
            }
        }
    }
}

/// The time that is left, as a limit for a socket, for which zero means none (socket(7)).
fn left_until(deadline: Instant) -> TimeVal {
    let left = deadline.saturating_duration_since(Instant::now());
    TimeVal::microseconds(i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1000))
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// A guest's process, as its keeper sees it. Dropping it ends the guest.
#[derive(Debug)]
pub struct GuestProcess<'a> {
    stage: &'a Stage,
    id: i32,
    status: File,
}

impl GuestProcess<'_> {
    /// What tells how the guest ended; for a thread that waits for it.
    ///
    /// # Errors
    /// When the pipe cannot be duplicated.
    pub fn status(&self) -> Result<GuestStatus> {
        Ok(GuestStatus(self.status.try_clone().context("cannot duplicate a pipe")?))
    }

    /// Ends the guest and all of its helper processes at once.
    pub fn kill(&self) {
        let _ = self.stage.ask(&Request::Kill { id: self.id }, &[]);
    }
}

impl Drop for GuestProcess<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The pipe that a keeper writes the guest's end to.
#[derive(Debug)]
pub struct GuestStatus(File);

impl AsFd for GuestStatus {
    /// Readable once the guest has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl GuestStatus {
    /// Waits for the guest's end: its status, or nothing if its keeper was killed.
    ///
    /// # Errors
    /// When the pipe breaks in the middle of a status.
    pub fn wait(mut self) -> Result<Option<ExitStatus>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).context("cannot read a guest's status")?;
        if bytes.is_empty() {
            return Ok(None);
        }
        ensure!(bytes.len() == 4, "a guest's status has {} bytes", bytes.len());
        let mut raw = [0; 4];
        raw.copy_from_slice(&bytes);
        Ok(Some(ExitStatus::from_raw(i32::from_ne_bytes(raw))))
    }
}
