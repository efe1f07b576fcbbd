//! Room on disks: looked at before much is written, and named where there was none.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result, ensure};
use nix::sys::statvfs::statvfs;

use crate::invocation;
use crate::layout::Layout;
use crate::ui::NoOutput;

/// What programs say of a full disk and of a used up quota (strerror(3)).
const COMPLAINTS: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// How many bytes are free for us where `dir` is, or would be made.
///
/// # Errors
/// When that cannot be told.
pub fn free(dir: &Path) -> Result<u64> {
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let stat = statvfs(there)
        .with_context(|| format!("cannot ask for the free space of {}", there.display()))?;
    Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

/// Refuses to begin what `dir` has no room for.
///
/// # Errors
/// When fewer than `needed` bytes are free: with both, and the place.
pub fn ensure_room(dir: &Path, needed: u64, what: &str) -> Result<()> {
    let free = free(dir)?;
    ensure!(
        free >= needed,
        "no room for {what}: {} MiB are needed, and {} MiB are free in {}\n  {}",
        needed.div_ceil(1 << 20),
        free >> 20,
        dir.display(),
        cure()
    );
    Ok(())
}

fn cure() -> String {
    format!(
        "make room (`{} clean --older-than 30` removes what no run has used for so long), or name another place \
         with CARGO_TARGET_DIR, UML_CACHE_DIR or TMPDIR",
        invocation::command()
    )
}

/// Says first that a disk is full, and which, where that is why something failed.
pub fn explain(error: Error, layout: &Layout) -> Error {
    // Where our output leads is the user's to know. A disk on which little is left is nobody's fault as long
    // as nothing says so.
    if error.is::<NoOutput>() || !is_about_space(&error) {
        return error;
    }
    let temporary = std::env::temp_dir();
    let mut places: Vec<(PathBuf, u64)> = [layout.runs(), layout.store(), temporary]
        .into_iter()
        .filter_map(|dir| free(&dir).ok().map(|free| (dir, free)))
        .collect();
    places.sort_by_key(|(_, free)| *free);
    let places: Vec<String> = places
        .iter()
        .map(|(dir, free)| format!("{} MiB are free in {}", free >> 20, dir.display()))
        .collect();
    error.context(format!(
        "a disk was full, or a quota used up; now {}\n  {}\n  what failed",
        places.join(", "),
        cure()
    ))
}

fn is_about_space(error: &Error) -> bool {
    let of_io = |error: &std::io::Error| {
        matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
    };
    // What a command said is in its error as text.
    let text = format!("{error:#}");
    error.chain().filter_map(|cause| cause.downcast_ref()).any(of_io)
        || COMPLAINTS.iter().any(|complaint| text.contains(complaint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_quota_are_known_however_they_are_told() {
        for errno in [nix::libc::ENOSPC, nix::libc::EDQUOT] {
            let error =
                Error::new(std::io::Error::from_raw_os_error(errno)).context("cannot write");
            assert!(is_about_space(&error));
            let text = std::io::Error::from_raw_os_error(errno).to_string();
            assert!(is_about_space(&Error::msg(format!("make failed:\n as: {text}"))), "{text}");
        }
        assert!(!is_about_space(&Error::new(std::io::Error::from_raw_os_error(nix::libc::EPERM))));
    }

    #[test]
    fn an_error_that_says_nothing_of_it_is_called_no_full_disk() {
        let layout = Layout::new("/proc".into(), "/proc/sys".into()).unwrap();
        let error = explain(Error::msg("make failed"), &layout).to_string();
        assert_eq!(error, "make failed", "nothing at all is free in /proc");
    }

    #[test]
    fn what_does_not_fit_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("to be made");
        ensure_room(&place, 1, "a byte").unwrap();
        let error = ensure_room(&place, u64::MAX, "everything").unwrap_err().to_string();
        assert!(
            error.contains("no room for everything") && error.contains("to be made"),
            "{error}"
        );
        assert!(error.contains("MiB are needed") && error.contains("clean"), "{error}");
    }
}
