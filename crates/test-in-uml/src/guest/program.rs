//! A program or another file for guests, which know it by its hash.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use uml_protocol::wire::Hash;

use crate::store::sha256;

/// A program for guests. It is opened once: a new build that takes the file's place while guests
/// are being sent it changes nothing for them.
#[derive(Debug)]
pub struct Program {
    file: Arc<File>,
    /// Where in the file it begins, and its size, in bytes.
    range: (u64, u64),
    hash: Hash,
}

impl Program {
    /// Opens the executable at `path` and hashes it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let hash = sha256(&file).with_context(|| format!("cannot read {}", path.display()))?;
        Self::whole(file, hash)
    }

    fn whole(file: File, hash: Hash) -> Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), range: (0, size), hash })
    }

    /// A part of a file, which begins there and has that size and hash.
    pub fn within(file: &Arc<File>, begin: u64, size: u64, hash: Hash) -> Self {
        Self { file: Arc::clone(file), range: (begin, size), hash }
    }

    /// Holds these bytes in memory, as a file of this name.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn of_bytes(name: &CStr, bytes: &[u8]) -> Result<Self> {
        let memory =
            memfd_create(name, MFdFlags::MFD_CLOEXEC).context("cannot make a memory file")?;
        let mut file = File::from(memory);
        file.write_all(bytes).context("cannot write to memory")?;
        file.rewind()?;
        let hash = sha256(&file).context("cannot read from memory")?;
        Self::whole(file, hash)
    }

    /// Its hash, by which guests keep it.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Its size, in bytes.
    pub fn size(&self) -> u64 {
        self.range.1
    }

    /// Writes it to a new file.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn copy_to(&self, path: &Path) -> Result<()> {
        let what = || format!("cannot write {}", path.display());
        let mut to = File::create_new(path).with_context(what)?;
        let (mut chunk, mut offset) = ([0; 64 << 10], 0);
        loop {
            match self.read_at(&mut chunk, offset)? {
                0 => return Ok(()),
                count => {
                    to.write_all(&chunk[..count]).with_context(what)?;
                    offset += count as u64;
                }
            }
        }
    }

    /// Fills `chunk` from the byte at `offset` on; less than a whole chunk only at the end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_at(&self, chunk: &mut [u8], offset: u64) -> Result<usize> {
        let (begin, size) = self.range;
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let most = chunk.len().min(left);
        Ok(self.file.read_at(&mut chunk[..most], begin + offset)?)
    }
}

impl AsFd for Program {
    /// The file that it is, or is a part of.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_build_does_not_change_what_guests_are_sent() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("tests");
        std::fs::write(&path, "old")?;
        let program = Program::open(&path)?;
        std::fs::remove_file(&path)?;
        std::fs::write(&path, "the new build")?;

        let mut chunk = [0; 16];
        let count = program.read_at(&mut chunk, 0)?;
        assert_eq!((&chunk[..count], program.size()), (&b"old"[..], 3));
        assert_ne!(program.hash(), Program::open(&path)?.hash());
        Ok(())
    }
}
