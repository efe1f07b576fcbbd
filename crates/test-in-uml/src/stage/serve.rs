//! S0 and S1: the two processes that a stage consists of. They have no threads and no logic.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{ForkResult, Pid, getpid, setsid};

use super::attachment::Attachment;
use super::channel::{Numbered, Reply, StageRequest};
use super::ground::{Apart, Folder, Ground, InFolder};
use super::host_file::HostFile;
use super::link::Link;
use super::{disks, handle, keeper, mconsole};
use crate::confine::{ResourceLimits, SyscallFilter};
use crate::isolation::{
    Ids, Namespaces, Search, adopt_orphans, child_signals, die_with_parent, end_adopted,
    end_own_descendants, end_with_descendants, enter, fork, is_real_root, mount_proc, reap,
    wait_for_child_or,
};
use crate::packet::{receive, send};

/// What S0 is told on its command line.
pub(super) struct Told {
    /// The number of bytes a guest may write to its folder, its memory among them.
    pub size: u64,
    pub attachment: Attachment,
    /// True if namespaces are to be had.
    pub apart: bool,
}

impl Told {
    /// How it is told.
    pub fn arguments(&self) -> [String; 3] {
        let ground = if self.apart { "apart" } else { "folder" };
        [self.size.to_string(), self.attachment.name().into(), ground.into()]
    }

    fn from_arguments(args: &[OsString]) -> Result<Self> {
        let words: Vec<&str> = args.iter().filter_map(|word| word.to_str()).collect();
        let [size, attachment, ground] = words.as_slice() else {
            anyhow::bail!("a stage is told three things, not {args:?}");
        };
        Ok(Self {
            size: size.parse().context("the stage needs a size")?,
            attachment: Attachment::named(attachment).context("the stage needs an attachment")?,
            apart: *ground == "apart",
        })
    }
}

/// Serves `__stage`.
pub(crate) fn serve(args: &[OsString]) -> Result<i32> {
    let told = Told::from_arguments(args)?;
    // Ctrl-C is for the process that started us alone.
    setsid().context("cannot start a session")?;
    if told.apart { serve_apart(&told) } else { serve_in_folder(&told) }
}

/// Unshares, and stays outside of the PID namespace until S1 is gone.
fn serve_apart(told: &Told) -> Result<i32> {
    // The second belt: the first is end-of-file on standard input.
    die_with_parent(Pid::parent())?;
    let was_root = is_real_root();
    if let Err(error) = enter(Namespaces::Run, Ids::Root) {
        return refuse(&error);
    }
    let own = getpid();
    match fork()? {
        ForkResult::Child => {
            let serve = || {
                die_with_parent(own)?;
                mount_proc();
                run(told, Ground::Apart(Apart::prepare(was_root, told.attachment)?))
            };
            let served = serve().or_else(|error| refuse(&error).map(drop));
            std::process::exit(i32::from(served.is_err()));
        }
        ForkResult::Parent { child } => {
            // S1 holds the socket from here on: only it may answer.
            nix::unistd::dup2_stdin(fs::File::open("/dev/null")?)?;
            nix::sys::wait::waitpid(child, None).context("cannot wait for the stage")?;
            Ok(0)
        }
    }
}

/// The time S1 may take to end once nobody asks any more, in milliseconds.
const END: u16 = 2000;

/// Makes a folder. There is no namespace with which what is on the stage goes: S1 ends all of it and removes the folder
/// when nobody asks any more, S0 when S1 is gone, and a keeper ends its guest when S1 is gone.
fn serve_in_folder(told: &Told) -> Result<i32> {
    adopt_orphans()?;
    let folder = match Folder::make() {
        Ok(folder) => folder,
        Err(error) => return refuse(&error),
    };
    match fork()? {
        ForkResult::Child => {
            let served = adopt_orphans()
                .and_then(|()| run(told, Ground::Folder(InFolder::new(folder.path())?)));
            end_own_descendants(Search::All);
            let served = served.or_else(|error| refuse(&error).map(drop));
            std::process::exit(i32::from(served.and(folder.remove()).is_err()));
        }
        ForkResult::Parent { child } => {
            let ended = child_signals()?;
            let stdin = std::io::stdin();
            // Nothing is read here; it is heard when the other side is gone.
            let mut fds = [
                PollFd::new(stdin.as_fd(), PollFlags::empty()),
                PollFd::new(ended.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut fds, PollTimeout::NONE);
            let _ = poll(&mut fds[1..], END);
            let _ = kill(child, Signal::SIGKILL);
            end_own_descendants(Search::All);
            folder.remove()?;
            Ok(0)
        }
    }
}

fn refuse(error: &anyhow::Error) -> Result<i32> {
    reply(0, Reply::Failed { why: format!("{error:#}") }, &[])?;
    Ok(1)
}

fn reply(number: u64, message: Reply, fds: &[OwnedFd]) -> Result<()> {
    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    send(std::io::stdin().as_fd(), &Numbered { number, message }, &fds)
}

/// What S1 knows.
struct StageState {
    ground: Ground,
    size: u64,
    attachment: Attachment,
    filter: SyscallFilter,
    keepers: BTreeSet<i32>,
}

/// S1: serves until nobody asks any more.
fn run(told: &Told, ground: Ground) -> Result<()> {
    let mut state = StageState {
        ground,
        size: told.size,
        attachment: told.attachment,
        filter: SyscallFilter::compile(!told.attachment.is_tap())?,
        keepers: BTreeSet::new(),
    };
    let dir = state.ground.dir().to_owned();
    state.ground.prepare_disks(&disks::dir(&dir), state.size)?;
    let ended = child_signals()?;
    let stdin = std::io::stdin();
    reply(0, Reply::Begun { dir }, &[])?;
    loop {
        let asked = wait_for_child_or(stdin.as_fd(), &ended);
        state.reap();
        if asked {
            let Some((Numbered { number, message }, fds)) = receive(stdin.as_fd())? else {
                return Ok(());
            };
            let (answer, fds) = match state.answer(message, fds) {
                Ok((id, fds)) => (Reply::Done { id }, fds),
                Err(error) => (Reply::Failed { why: format!("{error:#}") }, Vec::new()),
            };
            reply(number, answer, &fds)?;
        }
    }
}

impl StageState {
    /// Reaps whoever has ended.
    fn reap(&mut self) {
        let mut any = false;
        while let Some((pid, _)) = reap() {
            self.keepers.remove(&pid.as_raw());
            any = true;
        }
        if any && let Ground::Folder(_) = self.ground {
            // What a keeper had below it when it was killed is below us then.
            end_adopted(|child| self.keepers.contains(&child.as_raw()));
        }
    }

    fn link(&self, index: u16) -> Result<Link> {
        Link::numbered(self.ground.dir(), index)
    }

    fn answer(&mut self, request: StageRequest, fds: Vec<OwnedFd>) -> Result<(i32, Vec<OwnedFd>)> {
        match request {
            StageRequest::AddLink { index } => {
                let link = self.link(index)?;
                self.ground.add_link(&link, self.attachment, self.size)?;
            }
            StageRequest::AddInterface { index, name, driver } => {
                let link = self.link(index)?;
                let sockets = self.ground.add_interface(&link, &name, (self.attachment, driver))?;
                return Ok((0, sockets));
            }
            StageRequest::RemoveLink { index } => {
                let link = self.link(index)?;
                self.ground.remove_link(&link)?;
            }
            StageRequest::Expose { path, name } => {
                self.ground.expose(&HostFile::new(path, fds)?, &name)?;
            }
            StageRequest::Lend { path, name } => {
                self.ground.lend(&HostFile::new(path, fds)?, &name)?;
            }
            StageRequest::MakeDisk { name, size } => {
                let contents = fds.into_iter().next().context("no contents came")?.into();
                let path = disks::dir(self.ground.dir()).join(name);
                disks::make(&path, contents, size, self.ground.owner())?;
            }
            StageRequest::RemoveDisk { name } => disks::remove(self.ground.dir(), &name)?,
            StageRequest::Withdraw { name } => self.ground.withdraw(&name)?,
            StageRequest::Spawn { argv, sight, share, address_space, index } => {
                let guest = keeper::KeptGuest {
                    argv,
                    sight,
                    share,
                    limits: ResourceLimits { file_size: self.size, address_space },
                    filter: &self.filter,
                    ground: &self.ground,
                    index,
                    dir: self.link(index)?.dir(),
                };
                let id = keeper::start(&guest, fds)?.as_raw();
                return Ok((id, self.add_keeper(id)));
            }
            StageRequest::Mconsole { index, command } => {
                mconsole::send(&self.link(index)?.dir(), &command)?;
            }
            StageRequest::Socket { index } => {
                let socket = self.ground.apart()?.within(index, || {
                    let flags = SockFlag::SOCK_CLOEXEC;
                    socket(AddressFamily::Inet, SockType::Stream, flags, None)
                        .context("cannot make a TCP socket")
                })?;
                return Ok((0, vec![socket]));
            }
            StageRequest::Kill { id } => self.kill(id),
        }
        Ok((0, Vec::new()))
    }

    /// Notes a keeper; gives what it can be waited for by.
    fn add_keeper(&mut self, id: i32) -> Vec<OwnedFd> {
        self.keepers.insert(id);
        // In a folder it has to be asked of us: what is below a keeper does not end with it.
        let apart = self.ground.apart().is_ok();
        apart.then(|| handle::of_child(id)).flatten().into_iter().collect()
    }

    /// A keeper that is gone already is no error, but its number may be another's by now.
    fn kill(&self, id: i32) {
        let keeper = Pid::from_raw(id);
        match self.ground {
            _ if !self.keepers.contains(&id) => {}
            // The kernel ends all that is in its namespace.
            Ground::Apart(_) => drop(kill(keeper, Signal::SIGKILL)),
            Ground::Folder(_) => end_with_descendants(keeper),
        }
    }
}
