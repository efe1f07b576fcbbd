//! What goes from the store: entries that nobody needs, and what killed runs left.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use walkdir::WalkDir;

use super::{Key, Kind, Store, trust};

impl Store {
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

    /// Removes temporary folders whose builders are gone: their locks are free.
    pub(super) fn sweep(&self) {
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

pub(super) fn list(dir: &Path) -> Vec<fs::DirEntry> {
    fs::read_dir(dir).into_iter().flatten().flatten().collect()
}

/// Returns true if a file was written so long ago; one that is not there was, and one of the future was not.
fn is_older(path: &Path, time: Duration) -> bool {
    let written = fs::metadata(path).and_then(|meta| meta.modified());
    time.is_zero() || written.map_or(true, |at| at.elapsed().is_ok_and(|elapsed| elapsed >= time))
}

/// Removes a folder of ours, be it read-only.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    for entry in WalkDir::new(path).follow_root_links(false).into_iter().flatten() {
        if entry.file_type().is_dir() {
            let _ = fs::set_permissions(entry.path(), Permissions::from_mode(0o700));
        }
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| match trust::foreign(path, usize::MAX) {
                Some(foreign) => format!("cannot remove {}: {foreign}", path.display()),
                None => format!("cannot remove {}", path.display()),
            })
        }
        _ => Ok(()),
    }
}
