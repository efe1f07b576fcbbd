//! Disks on the stage that outlive the guest they are given to. They are in memory, and go with the stage.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

use crate::confine::DIR;

/// All disks together may take so many times what one guest may.
const SHARES: u64 = 8;

fn dir() -> PathBuf {
    Path::new(DIR).join("disks")
}

/// Where the disk with that name is.
pub(super) fn place(name: &str) -> PathBuf {
    dir().join(name)
}

/// Makes the place for disks, where one guest may take `size` bytes.
pub(super) fn prepare(size: u64) -> Result<()> {
    let dir = dir();
    fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = format!("size={},mode=0711", size.saturating_mul(SHARES));
    mount(Some("disks"), &dir, Some("tmpfs"), flags, Some(options.as_str()))
        .with_context(|| format!("cannot mount a tmpfs on {}", dir.display()))
}

/// Makes a disk of `size` bytes that begins with these contents, and belongs to `owner`.
pub(super) fn make(name: &str, mut contents: File, size: u64, owner: u32) -> Result<()> {
    let path = place(name);
    let what = || format!("cannot make {}", path.display());
    let mut disk = File::create_new(&path).with_context(what)?;
    io::copy(&mut contents, &mut disk).with_context(what)?;
    // The rest is a hole, and takes no memory until a guest writes there.

    disk.set_len(size).with_context(what)?;
    fchown(&disk, Some(owner), Some(owner)).with_context(what)
}

/// Removes a disk.
pub(super) fn remove(name: &str) -> Result<()> {
    let path = place(name);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}
