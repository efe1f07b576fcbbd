//! Locks between runs (flock(2)): they go with whoever holds them, however that ends.

use std::fs::{File, TryLockError};
use std::path::Path;
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
