//! What a stage is made of: namespaces, or a plain folder where the host grants none.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::attachment::Attachment;
use super::host_file::HostFile;
use super::link::Link;
use super::{door, tap};
use crate::kernel::NetDriver;

mod apart;
mod folder;

pub(super) use apart::Apart;
pub(crate) use folder::place as place_of_folder;
pub(super) use folder::{Folder, InFolder};

/// What a stage is made of.
pub(super) enum Ground {
    /// Namespaces of its own, and one for each link.
    Apart(Apart),
    /// A folder, and the host's own namespaces.
    Folder(InFolder),
}

impl Ground {
    /// Where its files are.
    pub fn dir(&self) -> &Path {
        match self {
            Ground::Apart(_) => Path::new(crate::confine::DIR),
            Ground::Folder(folder) => folder.dir(),
        }
    }

    /// The user that guests run as.
    pub fn owner(&self) -> u32 {
        match self {
            Ground::Apart(apart) => apart.owner(),
            Ground::Folder(_) => nix::unistd::geteuid().as_raw(),
        }
    }

    /// Makes the place for disks, where one guest may take `size` bytes.
    pub fn prepare_disks(&self, dir: &Path, size: u64) -> Result<()> {
        folder::make_dir(dir, 0o711)?;
        match self {
            Ground::Apart(_) => apart::mount_disks(dir, size),
            Ground::Folder(_) => Ok(()),
        }
    }

    /// Makes a network that has nothing but the tap of this link, if there is one, and the folder of its guest, who may
    /// write so many bytes there. Both are owned by the user that the guest will run as: it then needs no capability to
    /// open them.
    pub fn add_link(&mut self, link: &Link, attachment: Attachment, size: u64) -> Result<()> {
        folder::make_dir(Path::new(&link.dir()), 0o700)?;
        match self {
            Ground::Apart(apart) => apart.add_link(link, attachment, size),
            Ground::Folder(_) => Ok(()),
        }
    }

    /// Removes both.
    pub fn remove_link(&mut self, link: &Link) -> Result<()> {
        match self {
            Ground::Apart(apart) => apart.remove_link(link),
            Ground::Folder(_) => folder::remove(Path::new(&link.dir())),
        }
    }

    /// Gives the guest of a link one more interface; the sockets for its frames.
    pub fn add_interface(
        &self,
        link: &Link,
        name: &str,
        (attachment, driver): (Attachment, NetDriver),
    ) -> Result<Vec<OwnedFd>> {
        let open = || door::open(driver, &link.dir(), name, self.owner());
        match (self, attachment) {
            (Ground::Apart(apart), Attachment::Tap) => {
                let add = || tap::add_interface(name, self.owner()).map(|socket| vec![socket]);
                apart.within(link.index(), add)
            }
            (Ground::Apart(apart), Attachment::Socket) => apart.within(link.index(), open),
            (Ground::Folder(_), Attachment::Socket) => open(),
            (Ground::Folder(_), Attachment::Tap) => bail!("a tap needs a network of its own"),
        }
    }

    /// The namespaces that a guest is in.
    pub fn apart(&self) -> Result<&Apart> {
        match self {
            Ground::Apart(apart) => Ok(apart),
            Ground::Folder(_) => Err(anyhow::anyhow!("the stage has no network")),
        }
    }

    /// Makes a file of the host visible to guests under that name.
    pub fn expose(&self, file: &HostFile, name: &str) -> Result<()> {
        let place = self.dir().join(name);
        match self {
            Ground::Apart(_) => apart::expose(file, &place),
            Ground::Folder(_) => folder::expose(file, &place),
        }
    }

    /// The same for a file that guests may write to.
    pub fn lend(&self, file: &HostFile, name: &str) -> Result<()> {
        let place = self.dir().join(name);
        match self {
            Ground::Apart(apart) => apart.lend(file, &place),
            Ground::Folder(_) => folder::expose(file, &place),
        }
    }

    /// Takes back what was lent under that name.
    pub fn withdraw(&self, name: &str) -> Result<()> {
        let place = self.dir().join(name);
        match self {
            Ground::Apart(_) => apart::withdraw(&place),
            Ground::Folder(_) => std::fs::remove_file(&place)
                .with_context(|| format!("cannot remove {}", place.display())),
        }
    }
}
