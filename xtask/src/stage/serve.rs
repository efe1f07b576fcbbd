//! S0 and S1: the two processes that a stage consists of. They have no threads and no logic.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::ops::BitOr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{ForkResult, Pid, getpid, setsid};

use super::channel::{Reply, Request, receive, send};
use super::link::Link;
use super::{DIR, TUN, keeper, mconsole};
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
    send(std::io::stdin().as_fd(), &Reply::Failed { why: format!("{error:#}") }, &[])?;
    Ok(1)
}

/// S1: PID 1 of the run.
fn run(outside: Pid, was_root: bool) -> Result<()> {
    die_with_parent(outside)?;
    mount_proc();
    prepare(was_root)?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().context("cannot block SIGCHLD")?;
    let ended = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("cannot wait for SIGCHLD")?;
    let stdin = std::io::stdin();
    let mut keepers = BTreeSet::new();
    send(stdin.as_fd(), &Reply::Done { id: 0 }, &[])?;
    loop {
        let mut fds = [
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut fds, PollTimeout::NONE);
        let asked = fds[0].revents().is_some_and(|events| !events.is_empty());
        let _ = ended.read_signal();
        while let Some((pid, _)) = reap() {
            keepers.remove(&pid.as_raw());
        }
        if asked {
            let Some((request, fds)) = receive(stdin.as_fd())? else { return Ok(()) };
            let (reply, fd) = match answer(request, fds, was_root, &mut keepers) {
                Ok((id, fd)) => (Reply::Done { id }, fd),
                Err(error) => (Reply::Failed { why: format!("{error:#}") }, None),
            };
            let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
            send(stdin.as_fd(), &reply, &fds)?;
        }
    }
}

fn prepare(was_root: bool) -> Result<()> {
    let size = std::env::args().nth(2).context("the stage needs a size")?;
    let options = format!("size={size},mode=0755");
    // Guest memory is mapped executable from here, so there is no `noexec`.
    mount(Some("stage"), DIR, Some("tmpfs"), MsFlags::MS_NOSUID, Some(options.as_str()))
        .with_context(|| format!("cannot mount a tmpfs on {DIR}"))?;
    guest_agent::interface::bring_up("lo").context("cannot bring the loopback up")?;
    if was_root {
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

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("cannot mount {} on {}", from.display(), to.display()))
}

/// Shows a file that nobody on the stage may change.
fn show(file: &Path, place: &Path) -> Result<()> {
    bind(file, place)?;
    let has =
        statvfs(place).with_context(|| format!("cannot look at {}", place.display()))?.flags();
    // A user namespace may add to the flags of a mount and take nothing away
    // (mount_namespaces(7)).
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let kept = kept.iter().filter(|(flag, _)| has.contains(*flag)).map(|(_, flag)| *flag);
    let flags =
        kept.fold(MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, BitOr::bitor);
    mount(None::<&str>, place, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("cannot make {} read-only", place.display()))
}

fn answer(
    request: Request,
    fds: Vec<OwnedFd>,
    was_root: bool,
    keepers: &mut BTreeSet<i32>,
) -> Result<(i32, Option<OwnedFd>)> {
    match request {
        Request::AddLink { index } => add_link(&Link::numbered(index)?, was_root)?,
        Request::RemoveLink { index } => remove_link(&Link::numbered(index)?)?,
        Request::Expose { path, name } => {
            let place = Path::new(DIR).join(name);
            // What is shown already must not be opened again: it is the file itself by now.
            match fs::File::create_new(&place) {
                Ok(_) => show(&path, &place)?,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", place.display()));
                }
            }
        }
        Request::Lend { path, name } => {
            let place = Path::new(DIR).join(name);
            fs::File::create_new(&place)
                .with_context(|| format!("cannot make {}", place.display()))?;
            if was_root {
                chown(&path, Some(keeper::NOBODY), Some(keeper::NOBODY))
                    .with_context(|| format!("cannot give {} away", path.display()))?;
            }
            bind(&path, &place)?;
        }
        Request::Spawn { argv, share, index } => {
            let dir = Link::numbered(index)?.dir();
            let guest = keeper::Guest { argv, share, dir, was_root };
            let id = keeper::start(&guest, fds)?.as_raw();
            keepers.insert(id);
            return Ok((id, None));
        }
        Request::Mconsole { index, command } => {
            mconsole::send(&Link::numbered(index)?.dir(), &command)?;
        }
        Request::Socket => {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)
                .context("cannot make a TCP socket")?;
            return Ok((0, Some(socket)));
        }
        // A keeper that is gone already is no error, but its number may be another's by now.
        Request::Kill { id } if keepers.contains(&id) => {
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
        Request::Kill { .. } => {}
    }
    Ok((0, None))
}

/// Makes the tap of a link and the folder of its guest, both owned by the user that the guest will
/// run as: it then needs no capability to open them.
fn add_link(link: &Link, was_root: bool) -> Result<()> {
    let owner = if was_root { keeper::NOBODY } else { 0 };
    let tap = link.tap();
    let user = owner.to_string();
    ip(&["tuntap", "add", "dev", &tap, "mode", "tap", "user", &user]).with_context(|| {
        format!("if {TUN} may not be opened, `cargo xtask doctor` names the cure")
    })?;
    ip(&["address", "add", &link.host_with_prefix(), "dev", &tap])?;
    ip(&["link", "set", &tap, "up"])?;
    let dir = link.dir();
    fs::create_dir(&dir)
        .and_then(|()| fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)))
        .and_then(|()| chown(&dir, Some(owner), Some(owner)))
        .with_context(|| format!("cannot make {dir}"))
}

fn remove_link(link: &Link) -> Result<()> {
    ip(&["link", "delete", "dev", &link.tap()])?;
    let dir = link.dir();
    fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {dir}"))
}

fn ip(args: &[&str]) -> Result<()> {
    let output = match Command::new("ip").args(args).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("no `ip` on this host: install the package iproute2")
        }
        other => other.context("cannot start ip")?,
    };
    ensure!(
        output.status.success(),
        "`ip {}` failed: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
