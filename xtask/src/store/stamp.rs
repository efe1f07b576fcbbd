//! The stamp of an entry: what it was made from, and what its files were when it was sealed.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::sha256_of;

const NAME: &str = "stamp.json";

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Stamp {
    recipe: serde_json::Value,
    files: Vec<Sealed>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Sealed {
    name: String,
    size: u64,
    /// Seconds and nanoseconds since the epoch.
    modified: (i64, i64),
    sha256: String,
}

impl Stamp {
    /// Makes the files of `dir` read-only, syncs them, and writes down what they are.
    pub fn take(dir: &Path, recipe: &impl Serialize) -> Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
            let (path, meta) = (entry.path(), entry.metadata()?);
            ensure!(meta.is_file(), "{} is not a plain file: not for the store", path.display());
            let mode = if meta.mode() & 0o111 == 0 { 0o444 } else { 0o555 };
            fs::set_permissions(&path, Permissions::from_mode(mode))
                .and_then(|()| File::open(&path)?.sync_all())
                .with_context(|| format!("cannot seal {}", path.display()))?;
            files.push(Sealed {
                name: entry.file_name().to_string_lossy().into_owned(),
                size: meta.len(),
                modified: (meta.mtime(), meta.mtime_nsec()),
                sha256: sha256_of(&path)?,
            });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let recipe = serde_json::to_value(recipe).context("cannot write a recipe")?;
        Ok(Self { recipe, files })
    }

    /// Writes the stamp into `dir` and syncs it: from now on the entry is complete.
    pub fn seal(&self, dir: &Path) -> Result<()> {
        let path = dir.join(NAME);
        let write = || -> Result<()> {
            fs::write(&path, serde_json::to_vec_pretty(self)?)?;
            fs::set_permissions(&path, Permissions::from_mode(0o444))?;
            File::open(&path)?.sync_all()?;
            Ok(File::open(dir)?.sync_all()?)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(NAME);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a stamp of ours", path.display()))
    }

    /// Compares size and time; only what differs in time is hashed again.
    pub fn check(&self, dir: &Path) -> Result<()> {
        for sealed in &self.files {
            let path = dir.join(&sealed.name);
            let meta = fs::symlink_metadata(&path)
                .with_context(|| format!("{} is gone", path.display()))?;
            ensure!(meta.is_file(), "{} is not a plain file any more", path.display());
            ensure!(
                meta.len() == sealed.size,
                "{} was altered: {} bytes, not {}",
                path.display(),
                meta.len(),
                sealed.size
            );
            if (meta.mtime(), meta.mtime_nsec()) != sealed.modified {
                self.recheck(&path, sealed)?;
            }
        }
        Ok(())
    }

    /// A touched file with the same contents is made what it was: a COW remembers its base's time.
    fn recheck(&self, path: &Path, sealed: &Sealed) -> Result<()> {
        if sha256_of(path)? != sealed.sha256 {
            bail!("{} was altered: its contents have another hash", path.display());
        }
        let (seconds, nanos) = sealed.modified;
        let time = std::time::UNIX_EPOCH
            + std::time::Duration::new(
                u64::try_from(seconds).unwrap_or(0),
                u32::try_from(nanos).unwrap_or(0),
            );
        File::open(path)
            .and_then(|file| file.set_modified(time))
            .with_context(|| format!("cannot give {} its time back", path.display()))
    }
}
