//! The programs that the host sent, each kept by its hash: a program is sent once per guest.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use guest_agent::wire::Hash;
use guest_agent::{PROGRAMS, path_of};
use sha2::{Digest as _, Sha256};

/// A program that is still arriving.
pub struct Arriving {
    hash: Hash,
    left: u64,
    hasher: Sha256,
    file: File,
}

/// Begins to receive a program.
pub fn begin(hash: Hash, size: u64) -> Result<Arriving> {
    fs::create_dir_all(PROGRAMS).with_context(|| format!("cannot make {PROGRAMS}"))?;
    let path = path_of(&hash).with_extension("part");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(Arriving { hash, left: size, hasher: Sha256::new(), file })
}

impl Arriving {
    /// Takes a chunk; true once it was the last.
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool> {
        ensure!(bytes.len() as u64 <= self.left, "a program is longer than it was said to be");
        self.left -= bytes.len() as u64;
        self.hasher.update(bytes);
        self.file.write_all(bytes).context("cannot keep a program")?;
        Ok(self.left == 0)
    }

    /// Checks the hash and makes the program one that can be run.
    pub fn finish(self) -> Result<()> {
        let path = path_of(&self.hash);
        ensure!(self.hasher.finalize()[..] == self.hash, "a program arrived with another hash");
        self.file.set_permissions(Permissions::from_mode(0o755))?;
        // A file that is open for writing cannot be executed.
        drop(self.file);
        fs::rename(path.with_extension("part"), &path)
            .with_context(|| format!("cannot keep {}", path.display()))
    }
}
