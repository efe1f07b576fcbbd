//! The debugfs, where the kernel is controlled as its developers need it (Documentation/filesystems/debugfs.rst).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Where it is mounted.
const PLACE: &str = "/sys/kernel/debug";

/// A debugfs that is mounted for as long as this lives, if it was not before.
#[derive(Debug)]
pub struct Debugfs {
    is_ours: bool,
}

impl Drop for Debugfs {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = umount2(PLACE, MntFlags::MNT_DETACH);
        }
    }
}

impl Debugfs {
    /// The kernel's; nothing if it has none.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn mount() -> io::Result<Option<Self>> {
        let place = Path::new(PLACE);
        if !place.exists() {
            return Ok(None);
        }
        // The folder of one that is mounted has entries, and is empty otherwise.
        if fs::read_dir(place)?.next().is_some() {
            return Ok(Some(Self { is_ours: false }));
        }
        let kind = Some("debugfs");
        match mount(kind, place, kind, MsFlags::empty(), None::<&str>) {
            // A kernel without one.
            Err(Errno::ENODEV) => Ok(None),
            done => done.map(|()| Some(Self { is_ours: true })).map_err(io::Error::from),
        }
    }

    /// The path of what is called so there.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(PLACE).join(name)
    }
}
