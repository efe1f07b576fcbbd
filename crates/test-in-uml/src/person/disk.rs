//! The disks of a person's guest beside that of its root.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::tempfile;

use crate::config::ByteSize;
use crate::guest::ExtraDisk;
use crate::stage::Stage;

/// A disk that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedDisk {
    /// One of this size, empty, that goes with the guest.
    Empty(ByteSize),
    /// This file, which stays.
    File(PathBuf),
}

impl FromStr for WantedDisk {
    type Err = String;

    /// A text that is no size is a file: `./64M` is one too.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<ByteSize>() {
            Ok(size) => Ok(Self::Empty(size)),
            Err(_) if Path::new(text).is_file() => Ok(Self::File(text.into())),
            Err(error) => Err(format!("{error:#}, or the path of a file")),
        }
    }
}

impl WantedDisk {
    /// The number of bytes that it takes of a stage.
    pub fn size(&self) -> u64 {
        match self {
            Self::Empty(size) => size.bytes(),
            Self::File(_) => 0,
        }
    }
}

/// The disks of a guest that is about to be booted, or runs.
#[derive(Debug, Default)]
pub(super) struct Disks {
    /// As the guest sees them.
    pub seen: Vec<ExtraDisk>,
    lent: Vec<Lent>,
}

/// A file of the host's that is a guest's disk.
#[derive(Debug)]
struct Lent {
    path: PathBuf,
    owner: (u32, u32),
    /// It is locked: two kernels that mount one file system ruin it.
    _file: File,
}

impl Disks {
    /// Has them on a stage.
    pub fn on(stage: &Stage, wanted: &[WantedDisk]) -> Result<Self> {
        let mut disks = Self::default();
        for (index, disk) in wanted.iter().enumerate() {
            let name = format!("disk-{index}");
            let path = match disk {
                WantedDisk::Empty(size) => {
                    let contents = tempfile().context("cannot make a temporary file")?;
                    stage.make_disk(&name, &contents, size.bytes())?
                }
                WantedDisk::File(path) => {
                    let lent = Lent::open(path).with_context(|| format!("{}", path.display()))?;
                    let place = stage.lend(&lent.path, &name)?;
                    disks.lent.push(lent);
                    place
                }
            };
            disks.seen.push(ExtraDisk { path, read_only: false });
        }
        Ok(disks)
    }

    /// Gives the files back to whom they belonged: guests of root are run as another user.
    pub fn give_back(&self) -> Result<()> {
        self.lent.iter().try_for_each(|Lent { path, owner: (user, group), .. }| {
            chown(path, Some(*user), Some(*group))
                .with_context(|| format!("cannot take {} back from the guest", path.display()))
        })
    }
}

impl Lent {
    fn open(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).context("cannot make a path absolute")?;
        let file = File::options().read(true).write(true).open(&path).context("cannot open it")?;
        let about = file.metadata().context("cannot look at it")?;
        ensure!(about.is_file(), "it is no file");
        ensure!(
            about.len() >= 512 && about.len().is_multiple_of(512),
            "a disk has whole sectors of 512 bytes"
        );
        if file.try_lock().is_err() {
            bail!("a guest has it already");
        }
        Ok(Self { path, owner: (about.uid(), about.gid()), _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_a_size_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk");
        std::fs::write(&file, [0; 1024]).unwrap();
        assert_eq!("64M".parse(), Ok(WantedDisk::Empty(ByteSize::mib(64))));
        assert_eq!(file.to_str().unwrap().parse(), Ok(WantedDisk::File(file.clone())));
        let error = "64".parse::<WantedDisk>().unwrap_err();
        assert!(error.contains("is not a size") && error.contains("a file"), "{error}");

        let held = Lent::open(&file).unwrap();
        assert!(Lent::open(&file).unwrap_err().to_string().contains("has it already"));
        drop(held);
        std::fs::write(&file, [0; 1000]).unwrap();
        assert!(Lent::open(&file).unwrap_err().to_string().contains("sectors"));
    }
}
