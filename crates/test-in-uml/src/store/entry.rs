//! What is in the store, and what it is called there.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::hex;

/// What an entry is; also the name of its folder in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file from elsewhere.
    Download,
    /// A bootstrapped root file system, as an archive.
    Rootfs,
    /// An ext4 image.
    Image,
    /// A built kernel.
    Kernel,
    /// Modules of one folder, built for a kernel.
    Module,
    /// Programs of a suite.
    Suite,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Download, Self::Rootfs, Self::Image, Self::Kernel, Self::Module, Self::Suite];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Download => "download",
            Kind::Rootfs => "rootfs",
            Kind::Image => "image",
            Kind::Kernel => "kernel",
            Kind::Module => "module",
            Kind::Suite => "suite",
        }
    }
}

/// The hash of one recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(pub(super) String);

impl Key {
    /// The key of what `recipe` says: everything that its entry depends on, and nothing else.
    ///
    /// # Errors
    /// When the recipe cannot be written as JSON, for example for a path that is not UTF-8.
    pub fn of(recipe: &impl Serialize) -> Result<Self> {
        let text = serde_json::to_vec(recipe).context("cannot write a recipe")?;
        let mut hash = hex(&Sha256::digest(text));
        // 128 bits are far beyond accidents, and short enough to read in a path.
        hash.truncate(32);
        Ok(Self(hash))
    }

    /// The key in hexadecimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A complete entry. While it lives it holds a shared lock, so that nobody prunes it.
#[derive(Debug)]
pub struct Entry {
    pub(super) dir: PathBuf,
    pub(super) key: Key,
    pub(super) _lock: File,
}

impl Entry {
    /// Where the entry is.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The file called `name` in the entry.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The entry's key.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

/// A temporary folder in the store; it goes when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    pub(super) dir: tempfile::TempDir,
    pub(super) _lock: File,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}
