//! The stamp of an entry: what it was made from, and what its files were when it was sealed.

use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::{Uid, geteuid};
use serde::{Deserialize, Serialize};

use super::{sha256_of, trust};

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
    /// Permissions; stamps of earlier versions have none.
    mode: Option<u32>,
}

/// What the files of an entry were when they were last found right, in the order of its stamp. It is
/// of this machine and this moment, so that it is not part of the stamp.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Seen(Vec<Identity>);

/// Nobody can change a file and set its ctime back (inode(7)), as can be done with its mtime.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Identity {
    inode: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(meta: &Metadata) -> Self {
        Self { inode: meta.ino(), changed: (meta.ctime(), meta.ctime_nsec()) }
    }
}

impl Seen {
    /// What an earlier use kept at `path`. What cannot be read costs a look at the contents.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Keeps it at `path`, whose time is that of the last use. A full disk does not make an entry
    /// useless.
    pub fn keep(&self, path: &Path) {
        let fresh = path.with_extension(std::process::id().to_string());
        let touch = || File::open(path)?.set_modified(SystemTime::now());
        let write = || {
            fs::write(&fresh, serde_json::to_vec(self)?)?;
            fs::rename(&fresh, path)
        };
        let is_known = Self::read(path).as_ref() == Some(self);
        let kept = if is_known { touch() } else { write() };
        if kept.is_err() {
            let _ = fs::remove_file(fresh);
        }
    }
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
                mode: Some(mode),
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

    /// What the files of `dir`, which were just sealed, are.
    pub fn seen(&self, dir: &Path) -> Result<Seen> {
        let of = |sealed: &Sealed| Ok(Identity::of(&fs::symlink_metadata(dir.join(&sealed.name))?));
        let all: Result<_> = self.files.iter().map(of).collect();
        Ok(Seen(all.with_context(|| format!("cannot look at {}", dir.display()))?))
    }

    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(NAME);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a stamp of ours", path.display()))
    }

    /// Compares owner, mode, size and times; what differs from when it was last `seen` is hashed again.
    pub fn check(&self, dir: &Path, seen: Option<&Seen>) -> Result<Seen> {
        self.check_names(dir)?;
        let mut now = Vec::new();
        for (index, sealed) in self.files.iter().enumerate() {
            let path = dir.join(&sealed.name);
            let look = || {
                let meta = fs::symlink_metadata(&path);
                meta.with_context(|| format!("{} is gone", path.display()))
            };
            let meta = look()?;
            sealed.compare(&path, &meta)?;
            let identity = Identity::of(&meta);
            let known = seen.and_then(|seen| seen.0.get(index)) == Some(&identity);
            let touched = (meta.mtime(), meta.mtime_nsec()) != sealed.modified;
            if touched || !known {
                sealed.recheck(&path)?;
            }
            if touched {
                sealed.give_time_back(&path)?;
            }
            now.push(if touched { Identity::of(&look()?) } else { identity });
        }
        Ok(Seen(now))
    }
}

impl Stamp {
    /// An entry has the files that it was sealed with, and no others: what else is there, nobody vouches for.
    fn check_names(&self, dir: &Path) -> Result<()> {
        let meta = fs::symlink_metadata(dir)
            .with_context(|| format!("cannot look at {}", dir.display()))?;
        let owner = Uid::from_raw(meta.uid());
        ensure!(meta.is_dir(), "{} is no longer a folder", dir.display());
        ensure!(owner == geteuid(), "{} belongs to {} now", dir.display(), trust::name(owner));
        ensure!(meta.mode() & 0o022 == 0, "others may write to {}", dir.display());
        for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let name = entry.with_context(|| format!("cannot list {}", dir.display()))?.file_name();
            let is_known = name == NAME || self.files.iter().any(|sealed| name == *sealed.name);
            ensure!(is_known, "{} was added", dir.join(name).display());
        }
        Ok(())
    }
}

impl Sealed {
    /// What can be told without reading the file.
    fn compare(&self, path: &Path, meta: &Metadata) -> Result<()> {
        let path = path.display();
        let owner = Uid::from_raw(meta.uid());
        ensure!(meta.is_file(), "{path} is no longer a plain file");
        ensure!(owner == geteuid(), "{path} belongs to {} now", trust::name(owner));
        ensure!(meta.mode() & 0o022 == 0, "others may write to {path}");
        if let Some(mode) = self.mode {
            // The permissions of others depend on how a cache was copied.
            ensure!(
                meta.mode() & mode & 0o700 == mode & 0o700,
                "{path} was altered: its mode is {:o}, not {mode:o}",
                meta.mode() & 0o7777
            );
        }
        let (size, sealed) = (meta.len(), self.size);
        ensure!(size == sealed, "{path} was altered: {size} bytes, not {sealed}");
        Ok(())
    }

    fn recheck(&self, path: &Path) -> Result<()> {
        if sha256_of(path)? != self.sha256 {
            bail!("{} was altered: its contents have another hash", path.display());
        }
        Ok(())
    }

    /// A touched file with the same contents is made what it was: a COW remembers its base's time.
    fn give_time_back(&self, path: &Path) -> Result<()> {
        let (seconds, nanos) = self.modified;
        let since =
            Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
        File::open(path)
            .and_then(|file| file.set_modified(UNIX_EPOCH + since))
            .with_context(|| format!("cannot give {} its time back", path.display()))
    }
}
