//! A stage that is a folder of the host: no mount, no namespace. Who serves it removes it; what a power cut or a SIGKILL
//! of every process leaves is removed by the next stage.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, PipeReader, PipeWriter};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::removal::remove_folder;
use crate::stage::host_file::HostFile;

/// The beginning of its name; the path of a socket in it must fit a `sockaddr_un`.
const PREFIX: &str = "uml-stage-";

/// The longest path of such a folder, in bytes: sockets in it have 40 more at most.
const LONGEST: usize = 60;

/// A folder for a stage. It is locked as long as this or a process lives that was forked while it did.
pub(in crate::stage) struct Folder {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Folder {
    /// Makes one with room for guests, after having removed what others left.
    ///
    /// # Errors
    /// When there is no place for one.
    pub fn make() -> Result<Self> {
        let place = place()?;
        remove_left(&place);
        let random = fastrand::Rng::new().u64(..);
        let path = place.join(format!("{PREFIX}{random:016x}"));
        make_dir(&path, 0o700)?;
        let lock = lock(&path)?.context("a new folder is locked by somebody else")?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, with all that is in it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self) -> Result<()> {
        // The other one of S0 and S1 may have.
        remove_folder(&self.path)
    }
}

/// The folder as S1 has it.
pub(in crate::stage) struct InFolder {
    dir: PathBuf,
    /// Held by S1 alone, so that its keepers hear of its end.
    lifeline: (PipeReader, PipeWriter),
}

impl InFolder {
    /// A stage in this folder.
    ///
    /// # Errors
    /// When there can be no pipe.
    pub fn new(dir: &Path) -> Result<Self> {
        let lifeline = std::io::pipe().context("cannot make a pipe")?;
        Ok(Self { dir: dir.to_owned(), lifeline })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// For a keeper that was just forked: what breaks when S1 is gone.
    ///
    /// # Errors
    /// When its other end cannot be let go.
    pub fn lifeline(&self) -> Result<&PipeReader> {
        // SAFETY: the keeper is a process of its own, which uses that end nowhere.
        let closed = unsafe { nix::libc::close(self.lifeline.1.as_raw_fd()) };
        nix::errno::Errno::result(closed).context("cannot let go of a pipe")?;
        Ok(&self.lifeline.0)
    }
}

/// A folder whose files programs can be mapped from, as guests' memory is: it is fastest in memory.
///
/// # Errors
/// When there is none.
pub(crate) fn place() -> Result<PathBuf> {
    let candidates = [PathBuf::from("/dev/shm"), std::env::temp_dir(), "/var/tmp".into()];
    let mut refused = Vec::new();
    for dir in candidates {
        match fitness(&dir) {
            Ok(()) => return Ok(dir),
            Err(why) => refused.push(format!("{}: {why}", dir.display())),
        }
    }
    bail!("no folder has room for guests: {}; set TMPDIR to one that has", refused.join("; "))
}

/// Bytes that some guests take.
const ROOM: u64 = 1 << 30;

fn fitness(dir: &Path) -> Result<(), String> {
    let about = statvfs(dir).map_err(|errno| errno.to_string())?;
    let free = about.blocks_available() * about.fragment_size();
    let length = dir.as_os_str().len() + 1 + PREFIX.len() + 16;
    if about.flags().contains(FsFlags::ST_NOEXEC) {
        return Err("nothing can be executed there (noexec)".into());
    }
    if free < ROOM {
        return Err(format!("{} MiB are free, and {} are needed", free >> 20, ROOM >> 20));
    }
    if length > LONGEST {
        return Err("its path is too long".into());
    }
    nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)
        .map_err(|errno| errno.to_string())
}

/// Removes what stages of ours left that are gone.
fn remove_left(place: &Path) {
    let own = nix::unistd::geteuid().as_raw();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|about| about.is_dir() && about.uid() == own);
        // Whoever holds the lock is at work there. Another may be removing it at the same time.
        if is_ours && let Ok(Some(_lock)) = lock(&entry.path()) {
            let _ = remove(&entry.path());
        }
    }
}

/// Locks a folder; nothing if somebody else has it locked.
fn lock(path: &Path) -> Result<Option<Flock<File>>> {
    let dir = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Makes a folder.
pub(super) fn make_dir(dir: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .mode(mode)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))
}

/// Removes a folder with all that is in it.
pub(super) fn remove(dir: &Path) -> Result<()> {
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
}

/// Shows a file under another path.
pub(super) fn expose(file: &HostFile, place: &Path) -> Result<()> {
    match symlink(&file.path, place) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot make {}", place.display())),
        Ok(()) => file.ensure_at(place).inspect_err(|_| drop(fs::remove_file(place))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_removed_and_what_is_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let [left, used, other] =
            ["uml-stage-left", "uml-stage-used", "other"].map(|name| dir.path().join(name));
        for path in [&left, &used, &other] {
            make_dir(path, 0o700).unwrap();
            fs::write(path.join("file"), "").unwrap();
        }
        let lock = lock(&used).unwrap().unwrap();
        remove_left(dir.path());
        assert!(!left.exists() && used.join("file").exists() && other.exists());
        drop(lock);
        remove_left(dir.path());
        assert!(!used.exists() && other.exists());
    }

    #[test]
    fn a_place_is_said_to_be_unfit_for_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("a".repeat(50));
        fs::create_dir(&long).unwrap();
        assert_eq!(fitness(&long), Err("its path is too long".into()));
        assert!(fitness(Path::new("/no/such/folder")).is_err());
        assert!(fitness(Path::new("/proc")).is_err());
    }
}
