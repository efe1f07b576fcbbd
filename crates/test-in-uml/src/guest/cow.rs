//! A COW that stays: made here, where the user wants it, and valid from its first moment.
//!
//! UML makes a missing COW itself, but in the guest's stage, as the guest's user. The format is
//! that of `struct cow_header_v3` in arch/um/drivers/cow_user.c: big-endian and packed.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::{getegid, geteuid};

use crate::invocation;
use crate::rootfs::Image;
use crate::stage::Sight;

const MAGIC: &[u8] = b"OOOM";
const VERSION: u32 = 3;
const SECTOR: u32 = 512;
const ALIGNMENT: u32 = 4096;

/// The header's fields before the name of the image, and the room for that name, in bytes.
const FIELDS: usize = 32;
const NAME: usize = 4096;

/// A disk of a guest beside that of its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraDisk {
    /// Where guests see it.
    pub path: PathBuf,
    /// True if the guest cannot write to it.
    pub read_only: bool,
}

/// The sight of a guest that has what every guest of its kernel sees: the kernel and the image, its COW if that is not in its
/// own folder, and its other disks.
pub(crate) fn sight(
    of_every: Sight,
    (kernel, image): (&Path, &Path),
    cow: Option<&Path>,
    disks: &[ExtraDisk],
) -> Sight {
    let sight = of_every.with(kernel).with(image);
    let sight = cow.into_iter().fold(sight, Sight::with_lent);
    disks.iter().fold(sight, |sight, disk| match disk.read_only {
        true => sight.with(&disk.path),
        false => sight.with_lent(&disk.path),
    })
}

/// Where the disk of a guest is.
#[derive(Debug, Clone, Copy)]
pub enum Disk<'a> {
    /// In its own folder on the stage; it goes with the guest.
    Own,
    /// On the host, and may stay.
    Kept(&'a Cow),
    /// On the stage ([`GuestHost::make_disk`](super::GuestHost::make_disk)); it outlives the guest.
    OnStage(&'a Path),
}

/// A COW on the host.
#[derive(Debug)]
pub struct Cow {
    path: PathBuf,
}

impl Cow {
    /// Takes the COW at `path`, or makes an empty one there.
    ///
    /// # Errors
    /// When it cannot be made, or what is there is no COW of this image.
    pub fn at(path: &Path, image: &Image) -> Result<Self> {
        let path = std::path::absolute(path).context("cannot make a path absolute")?;
        ensure!(
            !path.as_os_str().as_bytes().iter().any(|byte| b",:".contains(byte)),
            "{}: a comma or a colon in the path of a disk means something else to UML",
            path.display()
        );
        if path.exists() {
            check(&path, image.key().as_str())?;
        } else {
            make(&path, &image.path())
                .with_context(|| format!("cannot make a COW at {}", path.display()))?;
        }
        Ok(Self { path })
    }

    /// A COW of the image that nobody has a name for, and in which nothing was written yet.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn nameless(image: &Image) -> Result<File> {
        let mut file = tempfile::tempfile().context("cannot make a temporary file")?;
        write_empty(&mut file, &image.path())?;
        file.rewind()?;
        Ok(file)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it back from the user that guests of a root run are run as.
    ///
    /// # Errors
    /// When it is gone, or cannot be given to us.
    pub fn take_back(&self) -> Result<()> {
        chown(&self.path, Some(geteuid().as_raw()), Some(getegid().as_raw()))
            .with_context(|| format!("cannot take {} back from the guest", self.path.display()))
    }

    /// Removes it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path)
            .with_context(|| format!("cannot remove {}", self.path.display()))
    }

    /// What the user wants to know of it.
    pub fn how_to_boot(&self, kernel: &str, by_hand: &str) -> String {
        let path = self.path.to_string_lossy();
        let xtask = invocation::command();
        let quoted = shlex::try_quote(&path).unwrap_or_else(|_| path.as_ref().into());
        format!(
            "the guest's disk is kept at {path}\n  to boot it again:\n    {xtask} shell --kernel \
             {kernel} --keep {quoted}\n  or by hand, without a network:\n    {by_hand}"
        )
    }
}

/// UML would take any image that the command line names, and mix the two.
fn check(path: &Path, key: &str) -> Result<()> {
    let mut header = Vec::new();
    File::open(path)
        .and_then(|file| file.take((FIELDS + NAME) as u64).read_to_end(&mut header))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let is_cow = header.starts_with(MAGIC)
        && header.get(4..8) == Some(VERSION.to_be_bytes().as_slice())
        && header.len() == FIELDS + NAME;
    ensure!(is_cow, "{} is there, and is no COW: choose another path", path.display());
    let name = header[FIELDS..].split(|&byte| byte == 0).next().unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    if !name.contains(key) {
        bail!(
            "{} belongs to another image, {name}, and would be garbage on today's, {key}: choose \
             another path",
            path.display()
        );
    }
    Ok(())
}

fn make(path: &Path, image: &Path) -> Result<()> {
    let dir = path.parent().context("it has no folder")?;
    let mut file = tempfile::Builder::new().prefix(".cow-").tempfile_in(dir)?;
    write_empty(file.as_file_mut(), image)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}

/// Writes a COW of the image in which nothing was written yet.
fn write_empty(file: &mut File, image: &Path) -> Result<()> {
    let about = image.metadata().with_context(|| format!("cannot read {}", image.display()))?;
    let header = header(image, u32::try_from(about.mtime())?, about.len())?;
    file.write_all(&header)?;
    // All else is a hole: a bitmap of zeroes, which says that nothing was written yet.
    let bitmap = about.len().div_ceil(8 * u64::from(SECTOR));
    let aligned = |offset: u64| offset.next_multiple_of(ALIGNMENT.into());
    Ok(file.set_len(aligned(aligned(header.len() as u64) + bitmap))?)
}

fn header(image: &Path, mtime: u32, size: u64) -> Result<Vec<u8>> {
    let mut header = MAGIC.to_vec();
    header.extend(VERSION.to_be_bytes());
    header.extend(mtime.to_be_bytes());
    header.extend(size.to_be_bytes());
    header.extend(SECTOR.to_be_bytes());
    header.extend(ALIGNMENT.to_be_bytes());
    // COW_BITMAP.
    header.extend(0_u32.to_be_bytes());
    ensure!(image.as_os_str().len() < NAME, "the image's path is too long for a COW");
    header.extend(image.as_os_str().as_bytes());
    header.resize(FIELDS + NAME, 0);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_cow_is_continued_on_its_own_image_only() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("1234").join("root.ext4");
        fs::create_dir(image.parent().unwrap()).unwrap();
        fs::write(&image, [0; 8192]).unwrap();
        let cow = dir.path().join("cow");
        make(&cow, &image).unwrap();
        check(&cow, "1234").unwrap();
        let error = check(&cow, "5678").unwrap_err().to_string();
        assert!(error.contains("another image") && error.contains("1234"), "{error}");
        assert!(make(&cow, &image).is_err(), "a COW was overwritten");
    }

    #[test]
    fn what_is_no_cow_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "a letter", "OOOM\0\0\0\x03 cut off"] {
            let path = dir.path().join("file");
            fs::write(&path, text).unwrap();
            assert!(check(&path, "").unwrap_err().to_string().contains("no COW"), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
