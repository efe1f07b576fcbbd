//! The content-addressed store: what is dear to make is made once, and never trusted half-made.
//!
//! An entry is a folder of plain files. It is built in a temporary sibling, synced, renamed and
//! made read-only, and carries a stamp that is cheap to check at each use.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

mod entry;
mod hash;
mod prune;
mod stamp;
pub mod trust;

pub use entry::{Entry, Key, Kind, Scratch};
pub use hash::{hex, sha256, sha256_of};
pub(crate) use prune::remove_tree;
use stamp::{Seen, Stamp};

use crate::cancel::CancelToken;
use crate::lock;
use crate::ui::to_stderr;

/// An entry that is not what it was as soon as it is made is not made for ever.
const MOST_BUILDS: u32 = 3;

/// The store.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// What was said of damaged entries: each is looked at more than once, and told of once.
    said: Mutex<BTreeSet<String>>,
}

impl Store {
    /// Opens the store at `dir`, makes it if there is none, and removes what killed runs left.
    ///
    /// # Errors
    /// When it or the folder that it is in belongs to another user, or others may write there.
    pub fn open(dir: PathBuf) -> Result<Self> {
        if let Some(there) = dir.ancestors().find(|dir| dir.exists()) {
            trust::ensure_writable(there).with_context(|| {
                format!("no store can be at {}: name another with UML_CACHE_DIR", dir.display())
            })?;
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("cannot make the store {}", dir.display()))?;
        // What lies beside the store, such as apt's configuration, is trusted as well.
        for dir in dir.ancestors().take(2) {
            trust::refuse_others(dir)?;
        }
        for sub in ["locks", "tmp", "used"] {
            let sub = dir.join(sub);
            fs::create_dir_all(&sub).with_context(|| format!("cannot make {}", sub.display()))?;
            trust::ensure_writable(&sub)?;
        }
        let store = Self { dir, said: Mutex::default() };
        store.sweep();
        Ok(store)
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Whether a complete entry for `recipe` is here; nothing is built and nobody is waited for.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get(&self, kind: Kind, recipe: &impl Serialize) -> Result<Option<Entry>> {
        let key = Key::of(recipe)?;
        let lock = self.lock_file(kind, &key)?;
        match lock.try_lock_shared() {
            Ok(()) => self.checked(kind, &key, lock),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock a store entry"),
        }
    }

    /// The entry for `recipe`; if there is none, `build` fills the folder that it is given.
    ///
    /// Nobody else builds the same entry at the same time: a second run waits and then reuses it.
    ///
    /// # Errors
    /// Those of `build`, and those of the file system.
    pub fn get_or_build(
        &self,
        cancel: &CancelToken,
        kind: Kind,
        recipe: &impl Serialize,
        mut build: impl FnMut(&Path) -> Result<()>,
    ) -> Result<Entry> {
        let key = Key::of(recipe)?;
        let mut built = 0;
        loop {
            let lock = self.lock_file(kind, &key)?;
            wait_for(cancel, || lock.try_lock_shared())?;
            if let Some(entry) = self.checked(kind, &key, lock)? {
                return Ok(entry);
            }
            let lock = self.lock_file(kind, &key)?;
            let mut is_ours = false;
            wait_for(cancel, || match lock.try_lock() {
                Ok(()) => {
                    is_ours = true;
                    Ok(())
                }
                // Another run has made it meanwhile, and holds it for as long as it uses it.
                Err(TryLockError::WouldBlock)
                    if self.intact(kind, &key).is_ok_and(|seen| seen.is_some()) =>
                {
                    Ok(())
                }
                Err(error) => Err(error),
            })?;
            // Another run may have built it while we waited.
            if is_ours && self.intact(kind, &key)?.is_none() {
                ensure!(
                    built < MOST_BUILDS,
                    "{} was made {built} times, and each time it was not what was sealed: does another \
                     program write there, or is the disk failing?",
                    self.entry_dir(kind, &key).display()
                );
                built += 1;
                self.build(kind, &key, recipe, &mut build)
                    .with_context(|| format!("no {} was made", kind.name()))?;
            }
        }
    }

    /// A temporary folder for work whose recipe is known only when it is done; nobody else works on
    /// the same `request` meanwhile.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(
        &self,
        cancel: &CancelToken,
        kind: Kind,
        request: &impl Serialize,
    ) -> Result<Scratch> {
        let name = format!("{}-{}-request", kind.name(), Key::of(request)?.0);
        let lock = self.open_lock(&name)?;
        wait_for(cancel, || lock.try_lock())?;
        let dir = self.temporary(&name)?;
        Ok(Scratch { dir, _lock: lock })
    }

    /// Keeps others from working on `request`, unless somebody does so already.
    ///
    /// # Errors
    /// When the lock cannot be opened.
    pub fn try_request(&self, kind: Kind, request: &impl Serialize) -> Result<Option<File>> {
        let lock = self.open_lock(&format!("{}-{}-request", kind.name(), Key::of(request)?.0))?;
        Ok(lock.try_lock().is_ok().then_some(lock))
    }

    /// Where a file that arrives for the entry of `recipe` grows, from one run to the next. It is
    /// for the builder of that entry alone.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn partial(&self, kind: Kind, recipe: &impl Serialize) -> Result<PathBuf> {
        let dir = self.dir.join("partial");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir.join(format!("{}-{}", kind.name(), Key::of(recipe)?.0)))
    }

    /// A temporary folder that a later run removes once the lock called `lock` is free.
    fn temporary(&self, lock: &str) -> Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix(&format!("{lock}."))
            .tempdir_in(self.dir.join("tmp"))
            .with_context(|| format!("cannot make a temporary folder in {}", self.dir.display()))
    }

    fn build(
        &self,
        kind: Kind,
        key: &Key,
        recipe: &impl Serialize,
        build: &mut impl FnMut(&Path) -> Result<()>,
    ) -> Result<()> {
        let entry = self.entry_dir(kind, key);
        remove_tree(&entry)?;
        let temporary = self.temporary(&format!("{}-{}", kind.name(), key.0))?;
        build(temporary.path())?;
        let stamp = Stamp::take(temporary.path(), recipe)?;
        stamp.seal(temporary.path())?;
        let seen = stamp.seen(temporary.path())?;
        if let Some(parent) = entry.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let temporary = temporary.keep();
        fs::rename(&temporary, &entry)
            .with_context(|| format!("cannot move an entry to {}", entry.display()))?;
        // Read-only comes last: a folder that cannot be written cannot be renamed by its owner.
        fs::set_permissions(&entry, Permissions::from_mode(0o555))
            .with_context(|| format!("cannot make {} read-only", entry.display()))?;
        seen.keep(&self.used(kind, key));
        Ok(())
    }

    fn checked(&self, kind: Kind, key: &Key, lock: File) -> Result<Option<Entry>> {
        let Some(seen) = self.intact(kind, key)? else { return Ok(None) };
        // Last use is a file of its own: an entry is never touched.
        seen.keep(&self.used(kind, key));
        Ok(Some(Entry { dir: self.entry_dir(kind, key), key: key.clone(), _lock: lock }))
    }

    /// Looks at an entry, if it is there; one that is not what it was is as good as none.
    fn intact(&self, kind: Kind, key: &Key) -> Result<Option<Seen>> {
        let dir = self.entry_dir(kind, key);
        match fs::symlink_metadata(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("cannot look at {}", dir.display()))?,
        };
        let seen = Seen::read(&self.used(kind, key));
        match Stamp::read(&dir).and_then(|stamp| stamp.check(&dir, seen.as_ref())) {
            Ok(seen) => Ok(Some(seen)),
            Err(error) => {
                let line = format!("warning: cached entry damaged, rebuilding: {error:#}");
                let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
                if said.insert(line.clone()) {
                    to_stderr(&line);
                }
                Ok(None)
            }
        }
    }

    fn entry_dir(&self, kind: Kind, key: &Key) -> PathBuf {
        self.dir.join(kind.name()).join(&key.0)
    }

    fn lock_file(&self, kind: Kind, key: &Key) -> Result<File> {
        self.open_lock(&format!("{}-{}", kind.name(), key.0))
    }

    fn open_lock(&self, name: &str) -> Result<File> {
        lock::open(&self.dir.join("locks").join(name))
    }

    /// The file whose time is that of an entry's last use; it says what the entry's files were then.
    fn used(&self, kind: Kind, key: &Key) -> PathBuf {
        self.dir.join("used").join(format!("{}-{}", kind.name(), key.0))
    }
}

/// Waits for a lock of the store, as long as it is wanted.
fn wait_for(
    cancel: &CancelToken,
    try_lock: impl FnMut() -> Result<(), TryLockError>,
) -> Result<()> {
    lock::wait_for(cancel, try_lock, || {
        to_stderr("waiting for another run that makes what this one needs …")
    })
}

#[cfg(test)]
mod tests;
