//! One folder a run, with every guest's console, every step's log and the reports.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::layout::Layout;

/// How much of a longer name a file's name has, in bytes: file systems have 255 for all of it.
const LONGEST_NAME: usize = 120;

/// How many finished runs are kept.
const KEPT: usize = 20;

/// The folder of this run. While it lives it holds the folder's lock; a folder whose lock is free
/// belongs to a run that is over.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    id: String,
    _lock: File,
}

impl RunFolder {
    /// Makes the folder of a new run, points `latest` at it, and prunes old runs.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn create(layout: &Layout) -> Result<Self> {
        let runs = layout.runs();
        fs::create_dir_all(&runs).with_context(|| format!("cannot make {}", runs.display()))?;
        let seconds =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for attempt in 0..1000 {
            let id = format!("{seconds}-{attempt}");
            let path = runs.join(&id);
            match fs::create_dir(&path) {
                Ok(()) => return Self::claim(&runs, path, id),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", path.display()));
                }
            }
        }
        bail!("no free name for a run folder in {}", runs.display())
    }

    fn claim(runs: &Path, path: PathBuf, id: String) -> Result<Self> {
        let lock = File::create(path.join("lock"))
            .with_context(|| format!("cannot make a lock in {}", path.display()))?;
        lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        point_latest_at(runs, &id)?;
        prune(runs, &id);
        Ok(Self { path, id, _lock: lock })
    }

    /// The run's name, unique in this checkout.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log of the step called `name`.
    pub fn step_log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{}.log", file_name(name)))
    }

    /// The kernel called `name`, if this run built it from a tree of the user's.
    pub fn kernel(&self, name: &str) -> PathBuf {
        self.path.join(format!("kernel-{}", file_name(name)))
    }

    /// What became of each case, as JSON lines.
    pub fn report_lines(&self) -> PathBuf {
        RunFiles::of(&self.path).report_lines()
    }

    /// The COW of the guest called `name`, if it is kept.
    pub fn cow(&self, name: &str) -> PathBuf {
        self.path.join(format!("{}.cow", file_name(name)))
    }

    /// What passed in the network called `name`.
    pub fn capture(&self, name: &str) -> PathBuf {
        self.path.join(format!("{}.pcapng", file_name(name)))
    }

    /// The console of the guest called `name`.
    pub fn console_log(&self, name: &str) -> PathBuf {
        self.path.join(RunFiles::console_log(name))
    }
}

/// Where things lie in the folder of a run, be it over or going on, here or brought from elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct RunFiles<'a> {
    folder: &'a Path,
}

impl<'a> RunFiles<'a> {
    /// The files in this folder.
    pub fn of(folder: &'a Path) -> Self {
        Self { folder }
    }

    /// What became of each case, as JSON lines.
    pub fn report_lines(self) -> PathBuf {
        self.folder.join("report.jsonl")
    }

    /// The same in JUnit's XML.
    pub fn junit(self) -> PathBuf {
        self.folder.join("junit.xml")
    }

    /// The same in the kernel's KTAP.
    pub fn ktap(self) -> PathBuf {
        self.folder.join("report.ktap")
    }

    /// The same for documents.
    pub fn markdown(self) -> PathBuf {
        self.folder.join("report.md")
    }

    /// The same for a browser.
    pub fn html(self) -> PathBuf {
        self.folder.join("report.html")
    }

    /// The name of the console's file of the guest called `name`.
    pub fn console_log(name: &str) -> String {
        format!("{}.console", file_name(name))
    }

    /// The name of the file with what a case wrote, where that is too long to be shown elsewhere.
    pub fn case_text(kernel: &str, binary: &str, name: &str, number: usize) -> String {
        format!("case-{number}-{}.txt", file_name(&format!("{kernel}-{binary}-{name}")))
    }
}

/// The folder of the run that a user calls `name`: its id, `latest`, or a path.
///
/// # Errors
/// When there is no report of such a run; the message names the runs that there are.
pub fn find(layout: &Layout, name: &str) -> Result<PathBuf> {
    // The link may point at a run that ran no case.
    if name == "latest"
        && let Some(newest) = before(&layout.runs(), None).into_iter().next()
    {
        return Ok(newest);
    }
    let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    let kept = plain.then(|| layout.runs().join(name));
    for folder in kept.into_iter().chain([PathBuf::from(name)]) {
        if RunFiles::of(&folder).report_lines().is_file() {
            // `latest` will point elsewhere soon.
            return folder.canonicalize().with_context(|| format!("no {}", folder.display()));
        }
    }
    let known: Vec<String> =
        before(&layout.runs(), None).iter().filter_map(|path| id_of(path)).collect();
    bail!("no run `{name}` has a report here; there are: latest {}", known.join(" "))
}

/// The runs in the folder `runs` that have a report and began before the one called `own`, or all of
/// them; the newest first.
pub fn before(runs: &Path, own: Option<&str>) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(runs) else { return Vec::new() };
    let mut folders: Vec<((u64, u64), PathBuf)> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| !path.is_symlink() && RunFiles::of(path).report_lines().is_file())
        .filter_map(|path| Some((numbers(&id_of(&path)?)?, path)))
        .collect();
    let own = own.and_then(numbers).unwrap_or((u64::MAX, u64::MAX));
    folders.retain(|(began, _)| *began < own);
    folders.sort_unstable_by(|one, other| other.cmp(one));
    folders.into_iter().map(|(_, path)| path).collect()
}

fn id_of(folder: &Path) -> Option<String> {
    Some(folder.file_name()?.to_str()?.to_owned())
}

/// The two numbers of an id: when the run began, and which of that second it was.
fn numbers(id: &str) -> Option<(u64, u64)> {
    let (seconds, attempt) = id.split_once('-')?;
    Some((seconds.parse().ok()?, attempt.parse().ok()?))
}

/// A name that is one plain file name, whatever a kernel, a step or a case is called, and however long that
/// is.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let file: String = name.chars().map(plain).collect();
    if file.len() <= LONGEST_NAME {
        return file;
    }
    let hash: String =
        Sha256::digest(name).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hash}", &file[..LONGEST_NAME])
}

fn point_latest_at(runs: &Path, id: &str) -> Result<()> {
    let latest = runs.join("latest");
    let fresh = runs.join(format!(".latest-{id}"));
    symlink(id, &fresh)
        .and_then(|()| fs::rename(&fresh, &latest))
        .with_context(|| format!("cannot point {} at this run", latest.display()))
}

/// Removes the oldest runs that are over. What cannot be removed is left: it harms nobody.
fn prune(runs: &Path, own: &str) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    let mut over: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name() != own && entry.path().join("lock").is_file())
        .map(|entry| entry.path())
        .filter(|path| {
            File::open(path.join("lock"))
                .is_ok_and(|lock| !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
        })
        .collect();
    over.retain(|path| {
        // A run that was killed just then leaves the link that was to become `latest`.
        if path.is_symlink() && path.file_name().is_some_and(|name| name != "latest") {
            let _ = fs::remove_file(path);
        }
        !path.is_symlink()
    });
    over.sort_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok());
    let surplus = over.len().saturating_sub(KEPT);
    for path in over.drain(..surplus) {
        let _ = fs::remove_dir_all(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_of_a_run_that_was_killed_goes() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().into(), dir.path().join("target")).unwrap();
        let killed = RunFolder::create(&layout).unwrap();
        let left = layout.runs().join(format!(".latest-{}", killed.id()));
        symlink(killed.id(), &left).unwrap();
        let other = RunFolder::create(&layout).unwrap();
        assert!(left.is_symlink(), "the run of that link is still going on");
        drop((killed, other));
        let last = RunFolder::create(&layout).unwrap();
        assert!(!left.is_symlink());
        assert_eq!(fs::read_link(layout.runs().join("latest")).unwrap(), Path::new(last.id()));
    }
}
