//! Locks between runs (flock(2)): they go with whoever holds them, however that ends.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cancel;

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

/// Waits for a lock, unless the user asks us to stop; `waiting` says so, once.
pub(crate) fn wait_for(
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
                cancel::check()?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}
