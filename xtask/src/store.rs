//! The content-addressed store: what is dear to make is made once, and never trusted half-made.
//!
//! An entry is a folder of plain files. It is built in a temporary sibling, synced, renamed and
//! made read-only, and carries a stamp that is cheap to check at each use.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

mod stamp;

use stamp::Stamp;

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
}

impl Kind {
    const ALL: [Self; 5] = [Self::Download, Self::Rootfs, Self::Image, Self::Kernel, Self::Module];

    fn name(self) -> &'static str {
        match self {
            Kind::Download => "download",
            Kind::Rootfs => "rootfs",
            Kind::Image => "image",
            Kind::Kernel => "kernel",
            Kind::Module => "module",
        }
    }
}

/// The hash of one recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

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
    dir: PathBuf,
    key: Key,
    _lock: File,
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
    dir: tempfile::TempDir,
    _lock: File,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// The store.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens the store at `dir`, makes it if there is none, and removes what killed runs left.
    ///
    /// # Errors
    /// When it belongs to another user, or others may write to it.
    pub fn open(dir: PathBuf) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("cannot make the store {}", dir.display()))?;
        let meta = fs::symlink_metadata(&dir)
            .with_context(|| format!("cannot look at the store {}", dir.display()))?;
        let own = nix::unistd::geteuid().as_raw();
        ensure!(
            meta.uid() == own,
            "the store {} belongs to user {}, not to you ({own}): name another with UML_CACHE_DIR",
            dir.display(),
            meta.uid()
        );
        ensure!(
            meta.mode() & 0o022 == 0,
            "others may write to the store {}: run `chmod 700` on it, or name another with \
             UML_CACHE_DIR",
            dir.display()
        );
        for sub in ["locks", "tmp", "used"] {
            let sub = dir.join(sub);
            fs::create_dir_all(&sub).with_context(|| format!("cannot make {}", sub.display()))?;
        }
        let store = Self { dir };
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
        kind: Kind,
        recipe: &impl Serialize,
        mut build: impl FnMut(&Path) -> Result<()>,
    ) -> Result<Entry> {
        let key = Key::of(recipe)?;
        loop {
            let lock = self.lock_file(kind, &key)?;
            wait_for(|| lock.try_lock_shared())?;
            if let Some(entry) = self.checked(kind, &key, lock)? {
                return Ok(entry);
            }
            let lock = self.lock_file(kind, &key)?;
            let dir = self.entry_dir(kind, &key);
            let (was_there, mut is_ours) = (dir.exists(), false);
            wait_for(|| match lock.try_lock() {
                Ok(()) => {
                    is_ours = true;
                    Ok(())
                }
                // Another run has made it meanwhile, and holds it for as long as it uses it.
                Err(TryLockError::WouldBlock) if !was_there && dir.exists() => Ok(()),
                Err(error) => Err(error),
            })?;
            // Another run may have built it while we waited.
            if is_ours && !self.is_intact(kind, &key)? {
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
    pub fn scratch(&self, kind: Kind, request: &impl Serialize) -> Result<Scratch> {
        let name = format!("{}-{}-request", kind.name(), Key::of(request)?.0);
        let lock = self.open_lock(&name)?;
        wait_for(|| lock.try_lock())?;
        let dir = self.temporary(&name)?;
        Ok(Scratch { dir, _lock: lock })
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
        Stamp::take(temporary.path(), recipe)?.seal(temporary.path())?;
        if let Some(parent) = entry.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let temporary = temporary.keep();
        fs::rename(&temporary, &entry)
            .with_context(|| format!("cannot move an entry to {}", entry.display()))?;
        // Read-only comes last: a folder that cannot be written cannot be renamed by its owner.
        fs::set_permissions(&entry, Permissions::from_mode(0o555))
            .with_context(|| format!("cannot make {} read-only", entry.display()))
    }

    fn checked(&self, kind: Kind, key: &Key, lock: File) -> Result<Option<Entry>> {
        if !self.is_intact(kind, key)? {
            return Ok(None);
        }
        // Last use is a file of its own: an entry is never touched.
        let used = self.used(kind, key);
        File::create(&used).with_context(|| format!("cannot touch {}", used.display()))?;
        Ok(Some(Entry { dir: self.entry_dir(kind, key), key: key.clone(), _lock: lock }))
    }

    fn is_intact(&self, kind: Kind, key: &Key) -> Result<bool> {
        let dir = self.entry_dir(kind, key);
        if !dir.exists() {
            return Ok(false);
        }
        match Stamp::read(&dir).and_then(|stamp| stamp.check(&dir)) {
            Ok(()) => Ok(true),
            Err(error) => {
                eprintln!("warning: a {} in the store is rebuilt: {error:#}", kind.name());
                Ok(false)
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
        let path = self.dir.join("locks").join(name);
        File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open the lock {}", path.display()))
    }

    /// Removes every entry, and every file that has arrived in part, that nobody is using and that
    /// nobody has used for so long; says how many bytes that freed.
    ///
    /// # Errors
    /// When an entry cannot be removed.
    pub fn prune(&self, unused_for: Duration) -> Result<u64> {
        let mut freed = 0;
        for kind in Kind::ALL {
            for entry in list(&self.dir.join(kind.name())) {
                let key = Key(entry.file_name().to_string_lossy().into_owned());
                let used = self.used(kind, &key);
                let lock = self.lock_file(kind, &key)?;
                if is_older(&used, unused_for) && lock.try_lock().is_ok() {
                    freed += fs_extra::dir::get_size(entry.path()).unwrap_or(0);
                    remove_tree(&entry.path())?;
                    let _ = fs::remove_file(used);
                }
            }
        }
        for partial in list(&self.dir.join("partial")) {
            let lock = self.open_lock(&partial.file_name().to_string_lossy())?;
            if is_older(&partial.path(), unused_for) && lock.try_lock().is_ok() {
                freed += partial.metadata().map_or(0, |meta| meta.len());
                let path = partial.path();
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(freed)
    }

    /// The file whose time is that of an entry's last use.
    fn used(&self, kind: Kind, key: &Key) -> PathBuf {
        self.dir.join("used").join(format!("{}-{}", kind.name(), key.0))
    }

    /// Removes temporary folders whose builders are gone: their locks are free.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.dir.join("tmp")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some((key, _)) = name.rsplit_once('.') else { continue };
            let Ok(lock) = self.open_lock(key) else { continue };
            if lock.try_lock().is_ok() {
                let _ = remove_tree(&entry.path());
            }
        }
    }
}

fn list(dir: &Path) -> Vec<fs::DirEntry> {
    fs::read_dir(dir).into_iter().flatten().flatten().collect()
}

/// Whether a file was written so long ago; one that is not there was, and one of the future was not.
fn is_older(path: &Path, time: Duration) -> bool {
    let written = fs::metadata(path).and_then(|meta| meta.modified());
    time.is_zero() || written.map_or(true, |at| at.elapsed().is_ok_and(|elapsed| elapsed >= time))
}

/// Waits for a lock, unless the user asks us to stop.
fn wait_for(mut try_lock: impl FnMut() -> Result<(), TryLockError>) -> Result<()> {
    let mut said = false;
    loop {
        match try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => {
                return Err(error).context("cannot lock a store entry");
            }
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut said, true) {
                    eprintln!("waiting for another run that makes what this one needs …");
                }
                crate::cancel::check()?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Removes a folder of ours, be it read-only.
fn remove_tree(path: &Path) -> Result<()> {
    for entry in walkdir::WalkDir::new(path).into_iter().flatten() {
        if entry.file_type().is_dir() {
            let _ = fs::set_permissions(entry.path(), Permissions::from_mode(0o700));
        }
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("cannot remove {}: {error}", path.display())
        }
        _ => Ok(()),
    }
}

/// Bytes in lowercase hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of a file, in lowercase hexadecimal.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_of(path: &Path) -> Result<String> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let hash = sha256(&file).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex(&hash))
}

/// The SHA-256 of what is left to read of a file.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(mut file: &File) -> std::io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests;
