//! A file of the host that guests are to see.

use std::fs::{self, File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// A file that the run has open; its path may be another's by now.
pub(super) struct HostFile {
    pub path: PathBuf,
    opened: File,
}

impl HostFile {
    /// The file whose descriptor came with a request.
    pub fn new(path: PathBuf, fds: Vec<OwnedFd>) -> Result<Self> {
        let opened = fds.into_iter().next().context("no descriptor came")?.into();
        Ok(Self { path, opened })
    }

    /// Fails unless it is this file that is seen at `place`.
    pub fn ensure_at(&self, place: &Path) -> Result<()> {
        let identity = |file: &Metadata| (file.dev(), file.ino());
        let seen =
            fs::metadata(place).with_context(|| format!("cannot look at {}", place.display()))?;
        let opened = self.opened.metadata().context("cannot look at a file")?;
        ensure!(
            identity(&seen) == identity(&opened),
            "{} was replaced by another file meanwhile",
            self.path.display()
        );
        Ok(())
    }
}

/// A descriptor of what is at a path, which needs no right to read it.
pub(super) fn open(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).custom_flags(nix::libc::O_PATH | nix::libc::O_CLOEXEC);
    options.open(path).with_context(|| format!("cannot open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_took_the_place_of_another_is_not_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "own").unwrap();
        let file = HostFile::new(path.clone(), vec![File::open(&path).unwrap().into()]).unwrap();
        file.ensure_at(&path).unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        fs::write(&path, "another's").unwrap();
        let error = file.ensure_at(&path).unwrap_err().to_string();
        assert!(error.contains("replaced"), "{error}");
        file.ensure_at(&dir.path().join("moved")).unwrap();
    }
}
