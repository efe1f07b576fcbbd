//! What is to be gone, be it there or not.

use std::fs;
use std::io::{ErrorKind, Result as IoResult};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Removes a file, if there is one.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_file(path: &Path) -> Result<()> {
    gone(fs::remove_file(path), path)
}

/// Removes a folder with all that is in it, if there is one.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_folder(path: &Path) -> Result<()> {
    gone(fs::remove_dir_all(path), path)
}

fn gone(removed: IoResult<()>, path: &Path) -> Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
