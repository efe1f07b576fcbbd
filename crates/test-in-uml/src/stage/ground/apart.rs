//! A stage of namespaces: everything on it is seen by nobody else, and goes with them.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::confine::{DIR, NOBODY, TUN, bind, prepare_roots, show};
use crate::stage::attachment::Attachment;
use crate::stage::host_file::HostFile;
use crate::stage::link::Link;
use crate::stage::tap;

/// The namespaces that we are in, and those of the links.
pub(in crate::stage) struct Apart {
    was_root: bool,
    /// The network namespace of the stage itself.
    home: OwnedFd,
    networks: BTreeMap<u16, OwnedFd>,
}

impl Apart {
    /// Prepares the namespaces that we have just entered.
    pub fn prepare(was_root: bool, attachment: Attachment) -> Result<Self> {
        // What guests write to lies in folders that are mounts of their own.
        mount(Some("stage"), DIR, Some("tmpfs"), MsFlags::MS_NOSUID, Some("size=4m,mode=0755"))
            .with_context(|| format!("cannot mount a tmpfs on {DIR}"))?;
        prepare_roots()?;
        uml_protocol::interface::bring_up("lo").context("cannot bring the loopback up")?;
        if was_root && attachment.is_tap() {
            own_device()?;
        }
        Ok(Self { was_root, home: own_network()?, networks: BTreeMap::new() })
    }

    /// Returns true if real root set the stage; its guests run as nobody.
    pub fn was_root(&self) -> bool {
        self.was_root
    }

    /// The user that guests run as.
    pub fn owner(&self) -> u32 {
        if self.was_root { NOBODY } else { 0 }
    }

    /// The network of a link.
    pub fn network(&self, index: u16) -> Result<BorrowedFd<'_>> {
        Ok(self.networks.get(&index).context("there is no such link")?.as_fd())
    }

    /// Does something in the network of a link.
    pub fn within<T>(&self, index: u16, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let network = self.network(index)?;
        setns(network, CloneFlags::CLONE_NEWNET).context("cannot enter the network of a link")?;
        let result = act();
        setns(&self.home, CloneFlags::CLONE_NEWNET)
            .context("cannot leave the network of a link")?;
        result
    }

    pub(super) fn add_link(
        &mut self,
        link: &Link,
        attachment: Attachment,
        size: u64,
    ) -> Result<()> {
        let owner = self.owner();
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network for a link")?;
        self.networks.insert(link.index(), own_network()?);
        self.within(link.index(), || match attachment {
            Attachment::Tap => tap::add(link, owner),
            Attachment::Socket => Ok(()),
        })?;
        // Guest memory is mapped executable from here, so there is no `noexec`.
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let options = format!("size={size},nr_inodes=4096,mode=0700,uid={owner},gid={owner}");
        let dir = link.dir();
        mount(Some("guest"), dir.as_str(), Some("tmpfs"), flags, Some(options.as_str()))
            .with_context(|| format!("cannot mount a tmpfs on {dir}"))
    }

    /// The tap goes with its network, and that with the last socket in it.
    pub(super) fn remove_link(&mut self, link: &Link) -> Result<()> {
        self.networks.remove(&link.index());
        let dir = link.dir();
        umount2(dir.as_str(), MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {dir}"))?;
        fs::remove_dir(&dir).with_context(|| format!("cannot remove {dir}"))
    }

    pub(super) fn lend(&self, file: &HostFile, place: &Path) -> Result<()> {
        fs::File::create_new(place).with_context(|| format!("cannot make {}", place.display()))?;
        bind(&file.path, place)?;
        let checked = file.ensure_at(place).and_then(|()| match self.was_root {
            // By the mount: nobody can put another file there.
            true => chown(place, Some(NOBODY), Some(NOBODY))
                .with_context(|| format!("cannot give {} away", file.path.display())),
            false => Ok(()),
        });
        checked.inspect_err(|_| drop(withdraw(place)))
    }
}

pub(super) fn mount_disks(dir: &Path, size: u64) -> Result<()> {
    /// All disks together may take so many times what one guest may.
    const SHARES: u64 = 8;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = format!("size={},mode=0711", size.saturating_mul(SHARES));
    mount(Some("disks"), dir, Some("tmpfs"), flags, Some(options.as_str()))
        .with_context(|| format!("cannot mount a tmpfs on {}", dir.display()))
}

pub(super) fn expose(file: &HostFile, place: &Path) -> Result<()> {
    // What is shown already must not be opened again: it is the file itself by now.
    match fs::File::create_new(place) {
        Ok(_) => show(&file.path, place)
            .and_then(|()| file.ensure_at(place))
            .inspect_err(|_| drop(withdraw(place))),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot make {}", place.display())),
    }
}

pub(super) fn withdraw(place: &Path) -> Result<()> {
    umount2(place, MntFlags::MNT_DETACH)
        .with_context(|| format!("cannot unmount {}", place.display()))?;
    fs::remove_file(place).with_context(|| format!("cannot remove {}", place.display()))
}

/// Guests run as an unprivileged user then, whom the host's node may be closed to.
fn own_device() -> Result<()> {
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
    Ok(())
}

/// The network namespace that we are in.
fn own_network() -> Result<OwnedFd> {
    Ok(fs::File::open("/proc/self/ns/net").context("cannot open a network namespace")?.into())
}
