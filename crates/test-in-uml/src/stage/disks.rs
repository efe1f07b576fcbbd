//! Disks on the stage that outlive the guest they are given to, and go with the stage.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Stage;
use super::channel::StageRequest;

impl Stage {
    /// Makes a disk of that size on the stage, with these contents and zeroes after them. It belongs to the user that
    /// guests run as. Returns its path there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_disk(&self, name: &str, contents: &File, size: u64) -> Result<PathBuf> {
        self.ask(&StageRequest::MakeDisk { name: name.into(), size }, &[contents.as_fd()])
            .context("cannot make a disk")?;
        Ok(dir(&self.dir).join(name))
    }

    /// Removes a disk of the stage.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove_disk(&self, name: &str) -> Result<()> {
        self.ask(&StageRequest::RemoveDisk { name: name.into() }, &[])
            .context("cannot remove a disk")?;
        Ok(())
    }
}

/// Where the disks of the stage in this folder are.
pub(super) fn dir(stage: &Path) -> PathBuf {
    stage.join("disks")
}

/// Makes a disk of `size` bytes that begins with these contents, and belongs to `owner`.
pub(super) fn make(path: &Path, mut contents: File, size: u64, owner: u32) -> Result<()> {
    let what = || format!("cannot make {}", path.display());
    let mut disk = File::create_new(path).with_context(what)?;
    io::copy(&mut contents, &mut disk).with_context(what)?;
    // The rest is a hole, and takes no room until a guest writes there.
    disk.set_len(size).with_context(what)?;
    fchown(&disk, Some(owner), Some(owner)).with_context(what)
}

/// Removes a disk.
pub(super) fn remove(stage: &Path, name: &str) -> Result<()> {
    let path = dir(stage).join(name);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}
