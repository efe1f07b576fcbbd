//! Locks between runs (flock(2)): they go with whoever holds them, however that ends.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cancel::CancelToken;

/// Opens a file that is there to be locked.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn open(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open the lock {}", path.display()))
}

/// How often it is tried to take a lock that others may hold for a moment, to see whether it is free.
const TRIES: u32 = 10;

/// Makes a folder of that mode with a lock in it, and takes the lock; nothing if somebody has it for longer than it takes to
/// look. Whoever has it may remove the folder.
///
/// # Errors
/// When it cannot be made or locked.
pub(crate) fn claim_folder(folder: &Path, mode: u32) -> Result<Option<File>> {
    let mut tries = 0;
    loop {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(mode);
        builder.create(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = in_folder(folder);
        let lock = match open(&path) {
            Ok(lock) => lock,
            // Its last holder has removed the folder just now.
            Err(_) if !folder.exists() => continue,
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) if is_still_at(&lock, &path) => return Ok(Some(lock)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if tries < TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
}

/// The lock of such a folder.
pub(crate) fn in_folder(folder: &Path) -> PathBuf {
    folder.join("lock")
}

/// Returns true if the file at `path` is this one: its last holder removes it while others may have it open.
pub(crate) fn is_still_at(lock: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (lock.metadata(), fs::metadata(path)) else { return false };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

/// Waits for a lock, as long as it is wanted; `waiting` says so, once.
pub(crate) fn wait_for(
    cancel: &CancelToken,
    mut try_lock: impl FnMut() -> Result<(), TryLockError>,
    waiting: impl FnOnce(),
) -> Result<()> {
    let mut waiting = Some(waiting);
    loop {
        match try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock a file"),
            Err(TryLockError::WouldBlock) => {
                if let Some(say) = waiting.take() {
                    say();
                }
                cancel.check()?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Interrupted;

    #[test]
    fn who_waits_is_ended_by_a_token_and_waits_again_with_another() {
        let dir = tempfile::tempdir().unwrap();
        let (held, lock) =
            (open(&dir.path().join("lock")).unwrap(), open(&dir.path().join("lock")));
        let lock = lock.unwrap();
        held.lock().unwrap();
        let cancel = CancelToken::default();
        let (told, theirs) = (std::cell::Cell::new(0), cancel.clone());
        let waiting = || {
            told.set(told.get() + 1);
            theirs.cancel();
        };
        let error = wait_for(&cancel, || lock.try_lock(), waiting).unwrap_err();
        assert!(error.is::<Interrupted>() && told.get() == 1, "{error:#}");

        held.unlock().unwrap();
        wait_for(&CancelToken::default(), || lock.try_lock(), || ()).unwrap();
    }
}
