//! S0 and S1: the two processes that a stage consists of. They have no threads and no logic.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{ForkResult, Pid, getpid, setsid};

use super::attachment::Attachment;
use super::channel::{Numbered, Reply, StageRequest, receive, send};
use super::link::Link;
use super::{disks, door, handle, keeper, mconsole, tap};
use crate::confine::{DIR, NOBODY, ResourceLimits, SyscallFilter, TUN, bind, prepare_roots, show};
use crate::isolation::{
    Ids, Namespaces, die_with_parent, enter, fork, is_real_root, mount_proc, reap,
};

/// Serves `__stage`: unshares, and stays outside of the PID namespace until S1 is gone.
pub(crate) fn serve(_: &[OsString]) -> Result<i32> {
    // The second belt: the first is end-of-file on standard input.
    die_with_parent(Pid::parent())?;
    setsid().context("cannot start a session")?;
    let was_root = is_real_root();
    if let Err(error) = enter(Namespaces::Run, Ids::Root) {
        return refuse(&error);
    }
    let own = getpid();
    match fork()? {
        ForkResult::Child => {
            let code = match run(own, was_root) {
                Ok(()) => 0,
                Err(error) => refuse(&error)?,
            };
            std::process::exit(code);
        }
        ForkResult::Parent { child } => {
            // S1 holds the socket from here on: only it may answer.
            nix::unistd::dup2_stdin(fs::File::open("/dev/null")?)?;
            nix::sys::wait::waitpid(child, None).context("cannot wait for the stage")?;
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
    was_root: bool,
    /// How many bytes a guest may write to its folder, its memory among them.
    size: u64,
    attachment: Attachment,
    filter: SyscallFilter,
    /// The network namespace of the stage itself, and those of the links.
    home: OwnedFd,
    networks: BTreeMap<u16, OwnedFd>,
    keepers: BTreeSet<i32>,
}

/// S1: PID 1 of the run.
fn run(outside: Pid, was_root: bool) -> Result<()> {
    die_with_parent(outside)?;
    mount_proc();
    let mut args = std::env::args().skip(2);
    let size = args.next().and_then(|size| size.parse().ok());
    let size = size.context("the stage needs a size")?;
    let attachment = args.next().and_then(|name| Attachment::named(&name));
    let attachment = attachment.context("the stage needs an attachment")?;
    prepare(was_root, attachment)?;
    disks::prepare(size)?;
    let mut state = StageState {
        was_root,
        size,
        attachment,
        filter: SyscallFilter::compile(attachment == Attachment::Socket)?,
        home: own_network()?,
        networks: BTreeMap::new(),
        keepers: BTreeSet::new(),
    };
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().context("cannot block SIGCHLD")?;
    let ended = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("cannot wait for SIGCHLD")?;
    let stdin = std::io::stdin();
    reply(0, Reply::Done { id: 0 }, &[])?;
    loop {
        let mut fds = [
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut fds, PollTimeout::NONE);
        let asked = fds[0].revents().is_some_and(|events| !events.is_empty());
        let _ = ended.read_signal();
        while let Some((pid, _)) = reap() {
            state.keepers.remove(&pid.as_raw());
        }
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

fn prepare(was_root: bool, attachment: Attachment) -> Result<()> {
    // What guests write to lies in folders that are mounts of their own.
    mount(Some("stage"), DIR, Some("tmpfs"), MsFlags::MS_NOSUID, Some("size=4m,mode=0755"))
        .with_context(|| format!("cannot mount a tmpfs on {DIR}"))?;
    prepare_roots()?;
    uml_protocol::interface::bring_up("lo").context("cannot bring the loopback up")?;
    if was_root && attachment == Attachment::Tap {
        // Guests run as an unprivileged user then, whom the host's node may be closed to.
        let own = Path::new(DIR).join("tun");
        mknod(&own, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(10, 200))
            .and_then(|()| {
                nix::sys::stat::fchmodat(
                    nix::fcntl::AT_FDCWD,
                    &own,
                    Mode::from_bits_truncate(0o666),
                    nix::sys::stat::FchmodatFlags::FollowSymlink,
                )
            })
            .context("cannot make a node for taps")?;
        if Path::new(TUN).exists() {
            bind(&own, Path::new(TUN))?;
        }
    }
    Ok(())
}

impl StageState {
    fn answer(&mut self, request: StageRequest, fds: Vec<OwnedFd>) -> Result<(i32, Vec<OwnedFd>)> {
        match request {
            StageRequest::AddLink { index } => self.add_link(&Link::numbered(index)?)?,
            StageRequest::AddInterface { index, name, driver } => {
                let (network, owner) = (self.network(index)?, self.owner());
                let dir = Link::numbered(index)?.dir();
                let sockets = self.within(network, || match self.attachment {
                    Attachment::Tap => tap::add_interface(&name, owner).map(|socket| vec![socket]),
                    Attachment::Socket => door::open(driver, &dir, &name, owner),
                })?;
                return Ok((0, sockets));
            }
            StageRequest::RemoveLink { index } => self.remove_link(&Link::numbered(index)?)?,
            StageRequest::Expose { path, name } => expose(&path, &Path::new(DIR).join(name))?,
            StageRequest::Lend { path, name } => self.lend(&path, &Path::new(DIR).join(name))?,
            StageRequest::MakeDisk { name, size } => {
                let contents = fds.into_iter().next().context("no contents came")?;
                disks::make(&name, contents.into(), size, self.owner())?;
            }
            StageRequest::RemoveDisk { name } => disks::remove(&name)?,
            StageRequest::Withdraw { name } => withdraw(&Path::new(DIR).join(name))?,
            StageRequest::Spawn { argv, sight, share, address_space, index } => {
                let guest = keeper::KeptGuest {
                    argv,
                    sight,
                    share,
                    limits: ResourceLimits { file_size: self.size, address_space },
                    filter: &self.filter,
                    network: self.network(index)?.as_fd(),
                    dir: Link::numbered(index)?.dir(),
                    was_root: self.was_root,
                };
                let id = keeper::start(&guest, fds)?.as_raw();
                self.keepers.insert(id);
                return Ok((id, handle::of_child(id).into_iter().collect()));
            }
            StageRequest::Mconsole { index, command } => {
                mconsole::send(&Link::numbered(index)?.dir(), &command)?;
            }
            StageRequest::Socket { index } => {
                let network = self.network(index)?;
                let socket = self.within(network, || {
                    let flags = SockFlag::SOCK_CLOEXEC;
                    socket(AddressFamily::Inet, SockType::Stream, flags, None)
                        .context("cannot make a TCP socket")
                })?;
                return Ok((0, vec![socket]));
            }
            // A keeper that is gone already is no error, but its number may be another's by now.
            StageRequest::Kill { id } if self.keepers.contains(&id) => {
                let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
            }
            StageRequest::Kill { .. } => {}
        }
        Ok((0, Vec::new()))
    }

    /// The user that guests run as.
    fn owner(&self) -> u32 {
        if self.was_root { NOBODY } else { 0 }
    }

    fn network(&self, index: u16) -> Result<&OwnedFd> {
        self.networks.get(&index).context("there is no such link")
    }

    /// Does something in a network namespace.
    fn within<T>(&self, network: &OwnedFd, act: impl FnOnce() -> Result<T>) -> Result<T> {
        setns(network, CloneFlags::CLONE_NEWNET).context("cannot enter the network of a link")?;
        let result = act();
        setns(&self.home, CloneFlags::CLONE_NEWNET)
            .context("cannot leave the network of a link")?;
        result
    }

    /// Makes a network that has nothing but the tap of this link, if there is one, and the folder of its guest. Both
    /// are owned by the user that the guest will run as: it then needs no capability to open them.
    fn add_link(&mut self, link: &Link) -> Result<()> {
        let owner = self.owner();
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network for a link")?;
        let network = own_network()?;
        if self.attachment == Attachment::Tap {
            self.within(&network, || tap::add(link, owner))?;
        }
        self.networks.insert(link.index(), network);
        let dir = link.dir();
        fs::create_dir(&dir).with_context(|| format!("cannot make {dir}"))?;
        // Guest memory is mapped executable from here, so there is no `noexec`.
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let size = self.size;
        let options = format!("size={size},nr_inodes=4096,mode=0700,uid={owner},gid={owner}");
        mount(Some("guest"), dir.as_str(), Some("tmpfs"), flags, Some(options.as_str()))
            .with_context(|| format!("cannot mount a tmpfs on {dir}"))
    }

    /// The tap goes with its network, and that with the last socket in it.
    fn remove_link(&mut self, link: &Link) -> Result<()> {
        self.networks.remove(&link.index());
        let dir = link.dir();
        umount2(dir.as_str(), MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {dir}"))?;
        fs::remove_dir(&dir).with_context(|| format!("cannot remove {dir}"))
    }

    fn lend(&self, path: &Path, place: &Path) -> Result<()> {
        fs::File::create_new(place).with_context(|| format!("cannot make {}", place.display()))?;
        if self.was_root {
            chown(path, Some(NOBODY), Some(NOBODY))
                .with_context(|| format!("cannot give {} away", path.display()))?;
        }
        bind(path, place)
    }
}

/// The network namespace that we are in.
fn own_network() -> Result<OwnedFd> {
    Ok(fs::File::open("/proc/self/ns/net").context("cannot open a network namespace")?.into())
}

fn withdraw(place: &Path) -> Result<()> {
    umount2(place, MntFlags::MNT_DETACH)
        .with_context(|| format!("cannot unmount {}", place.display()))?;
    fs::remove_file(place).with_context(|| format!("cannot remove {}", place.display()))
}

fn expose(path: &Path, place: &Path) -> Result<()> {
    // What is shown already must not be opened again: it is the file itself by now.
    match fs::File::create_new(place) {
        Ok(_) => show(path, place),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot make {}", place.display())),
    }
}
