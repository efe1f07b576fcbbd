//! Unpacking an archive that others made: all of it, inside of one folder, or not at all.
//!
//! An entry that is absolute, climbs out, leads out or is a device is an error that names it; the
//! tar crate's own `unpack_in` would skip or relocate it without a word.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cancel::CancelToken;

mod decode;
mod entry;
#[cfg(test)]
mod fuzz;
mod writer;

/// What becomes of the one folder that source archives hold everything in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopDir {
    /// It stays: `linux-3.0/Makefile` becomes `DEST/linux-3.0/Makefile`.
    Keep,
    /// It becomes the destination; a second folder or a file beside it is an error.
    Strip,
}

/// What no archive of ours comes near: beyond this it is a bomb.
#[derive(Debug, Clone, Copy)]
struct EntryLimits {
    entries: u64,
    bytes: u64,
}

/// Linux 7 has 95,000 entries and 1.8 GB.
const LIMITS: EntryLimits = EntryLimits { entries: 1_000_000, bytes: 16 << 30 };

/// Unpacks a tar archive, plain or compressed by gzip, xz or bzip2, into `dest`, which must not
/// exist. Modes and modification times are kept, whatever the umask; owners are not.
///
/// The work is done in a hidden sibling of `dest` that is renamed at the end; what a killed run
/// left of it is removed by the next one.
///
/// # Errors
/// When the archive is damaged, cut short, or followed by something else, or an entry has no
/// business in it; `dest` does not exist then.
pub fn unpack(cancel: &CancelToken, archive: &Path, dest: &Path, top: TopDir) -> Result<()> {
    unpack_within(cancel, archive, dest, top, LIMITS)
        .with_context(|| format!("cannot unpack {}", archive.display()))
}

fn unpack_within(
    cancel: &CancelToken,
    archive: &Path,
    dest: &Path,
    top: TopDir,
    limits: EntryLimits,
) -> Result<()> {
    ensure!(fs::symlink_metadata(dest).is_err(), "{} exists already", dest.display());
    let file = File::open(archive).context("cannot open it")?;
    let reader = decode::reader(file)?;
    let partial = Partial::claim(dest)?;
    writer::unpack_into(cancel, reader, &partial.path, top, limits)?;
    // The kernel tree can always be unpacked again, so nothing is synced: that would take longer
    // than the unpacking.
    fs::rename(&partial.path, dest)
        .with_context(|| format!("cannot move the unpacked tree to {}", dest.display()))
}

/// The folder that is being filled; it goes when this is dropped, unless it was renamed.
pub(crate) struct Partial {
    path: PathBuf,
    /// Says that we live.
    _lock: File,
}

impl Partial {
    /// Where it is: beside what it is to become.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes one for what is to be at `dest`.
    ///
    /// # Errors
    /// When it cannot be made, or another run fills one for the same place.
    pub fn claim(dest: &Path) -> Result<Self> {
        let (Some(parent), Some(name)) = (dest.parent(), dest.file_name()) else {
            bail!("{} is not a name for a folder", dest.display());
        };
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".unpacking");
        let path = parent.join(hidden);
        remove_dead(&path)?;
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let lock = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        lock.try_lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes what a killed run left; a folder that is locked belongs to one that lives.
fn remove_dead(path: &Path) -> Result<()> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
        Ok(dir) => ensure!(
            dir.try_lock().is_ok(),
            "another run is unpacking into {}: wait for it",
            path.display()
        ),
    }
    fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests;
