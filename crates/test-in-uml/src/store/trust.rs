//! Whose folders may be trusted, and what is said of those that may not.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, Uid, User, faccessat, geteuid};
use walkdir::WalkDir;

const ANOTHER: &str = "name another with UML_CACHE_DIR";

/// Refuses a folder that belongs to another user, or that others may write to: what is in it is run.
///
/// A folder like /tmp, where each user may remove only what is their own, is fine as a parent.
///
/// # Errors
/// When it is not to be trusted, or cannot be looked at.
pub fn refuse_others(dir: &Path) -> Result<()> {
    let meta =
        fs::symlink_metadata(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    let sticky = meta.mode() & 0o1000 != 0;
    let (owner, own) = (Uid::from_raw(meta.uid()), geteuid());
    ensure!(
        owner == own || (sticky && owner.is_root()),
        "{}, of the cache, belongs to {}, not to you ({own}): {ANOTHER}, or, if what is in it can be \
         trusted, run `chown -R {own} {}` as root",
        dir.display(),
        name(owner),
        dir.display()
    );
    ensure!(
        sticky || meta.mode() & 0o022 == 0,
        "others may write to {}, of the cache: run `chmod go-w {}`, or {ANOTHER}",
        dir.display(),
        dir.display()
    );
    Ok(())
}

/// The nearest folder above `dir` in which somebody else could put another in its place.
pub fn replaceable(dir: &Path) -> Option<PathBuf> {
    dir.ancestors().skip(1).find_map(|above| {
        let meta = fs::symlink_metadata(above).ok()?;
        let owner = Uid::from_raw(meta.uid());
        let strange = !owner.is_root() && owner != geteuid();
        let open = meta.mode() & 0o1002 == 0o002;
        (strange || open).then(|| above.to_owned())
    })
}

/// Refuses a folder of ours that is there and that we may not write to, for example because root
/// made it. What is not there yet is no matter.
///
/// # Errors
/// When it may not be written to: with its owner, and how it is given back.
pub fn ensure_writable(dir: &Path) -> Result<()> {
    let wanted = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
    match faccessat(AT_FDCWD, dir, wanted, AtFlags::AT_EACCESS) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => match foreign(dir, 0) {
            Some(foreign) => bail!("cannot write to {}: {foreign}", dir.display()),
            None => Err(errno).with_context(|| format!("cannot write to {}", dir.display())),
        },
    }
}

/// What is said of the first file in `dir`, down to so many levels, that belongs to another user.
pub fn foreign(dir: &Path, levels: usize) -> Option<String> {
    let own = geteuid();
    let walk = WalkDir::new(dir).follow_root_links(false).max_depth(levels);
    let found = walk.into_iter().flatten();
    let mut owners =
        found.filter_map(|entry| Some((entry.path().to_owned(), entry.metadata().ok()?)));
    let strange = owners.find(|(_, meta)| meta.uid() != own.as_raw());
    strange.map(|(path, meta)| {
        format!(
            "{} belongs to {}; run `chown -R {own} {}` as root",
            path.display(),
            name(Uid::from_raw(meta.uid())),
            dir.display()
        )
    })
}

/// A user as messages call it.
pub fn name(user: Uid) -> String {
    match User::from_uid(user) {
        Ok(Some(known)) => format!("{} ({user})", known.name),
        _ => format!("user {user}"),
    }
}
