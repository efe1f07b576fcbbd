//! A look at a tree by what the file system says of its files: whether anything in it has changed is known without
//! make, and without reading a file.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

/// How old a change has to be for the next one to have another time, as git asks of its index (racy-git.txt): a kernel
/// counts time in ticks of 10 ms at most, …
const TICKS: Duration = Duration::from_millis(100);
/// … and some file systems in steps of two seconds.
const STEPS: Duration = Duration::from_secs(3);

/// What a tree's files were. Two looks that are equal saw the same files, if the first was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Scan {
    /// Of all files: a sum, in which the order of the files does not count.
    whole: u64,
    files: u64,
    /// Of those that a configuration is made from.
    pub configuration: u64,
    /// True if no later change can have gone unseen: none was so young that the next may have the same time, and no
    /// link leads out of the tree.
    #[serde(skip)]
    pub settled: bool,
}

impl Scan {
    const NOTHING: Self = Self { whole: 0, files: 0, configuration: 0, settled: true };

    /// Looks at all files in `root`, and at what the release of a kernel is made from in its git repository.
    ///
    /// # Errors
    /// When something of it cannot be looked at.
    pub fn of(root: &Path) -> Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self::at(root, now.unwrap_or_default())
    }

    /// The same at this time, since 1970.
    fn at(root: &Path, now: Duration) -> Result<Self> {
        let walk = Walk {
            root,
            now,
            queue: Mutex::new(Queue { folders: vec![root.to_owned()], busy: 0 }),
            more: Condvar::new(),
        };
        let workers = available_parallelism().map_or(1, |count| count.get());
        let scans = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| walk.work())).collect();
            let scans = workers.into_iter().map(|worker| worker.join());
            scans
                .map(|scan| scan.unwrap_or_else(|_| Err(anyhow!("a part of a tree was lost"))))
                .collect::<Result<Vec<_>>>()
        })?;
        Ok(scans.into_iter().fold(Self::NOTHING, Self::with))
    }

    fn with(self, other: Self) -> Self {
        Self {
            whole: self.whole.wrapping_add(other.whole),
            files: self.files + other.files,
            configuration: self.configuration.wrapping_add(other.configuration),
            settled: self.settled && other.settled,
        }
    }
}

/// A walk by several threads.
struct Walk<'a> {
    root: &'a Path,
    /// When it began, since 1970.
    now: Duration,
    queue: Mutex<Queue>,
    more: Condvar,
}

struct Queue {
    /// Those that nobody has looked at.
    folders: Vec<PathBuf>,
    /// How many look at one, and may find more.
    busy: usize,
}

impl Walk<'_> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next folder; none when the walk is over.
    fn next(&self) -> Option<PathBuf> {
        let mut queue = self.queue();
        loop {
            if let Some(folder) = queue.folders.pop() {
                queue.busy += 1;
                return Some(folder);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&self) -> Result<Scan> {
        let mut scan = Scan::NOTHING;
        while let Some(folder) = self.next() {
            let looked = self.look_at(&folder);
            let (seen, below) = looked
                .as_ref()
                .map_or((Scan::NOTHING, &[][..]), |(seen, below)| (*seen, below.as_slice()));
            let mut queue = self.queue();
            queue.busy -= 1;
            queue.folders.extend_from_slice(below);
            drop(queue);
            self.more.notify_all();
            looked.with_context(|| format!("cannot look at {}", folder.display()))?;
            scan = scan.with(seen);
        }
        Ok(scan)
    }

    /// What is in a folder, and the folders below it.
    fn look_at(&self, folder: &Path) -> Result<(Scan, Vec<PathBuf>)> {
        let (mut scan, mut below) = (Scan::NOTHING, Vec::new());
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if folder == self.root && entry.file_name() == ".git" {
                for path in of_release(&path)? {
                    match fs::symlink_metadata(&path) {
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        Ok(meta) if meta.is_dir() => below.push(path),
                        meta => scan = scan.with(self.seen(&path, &meta?)),
                    }
                }
                continue;
            }
            let meta = entry.metadata()?;
            scan = scan.with(self.seen(&path, &meta));
            if meta.is_dir() {
                below.push(path);
            }
        }
        Ok((scan, below))
    }

    /// Returns true if another change of that file would have had another time.
    fn is_old(&self, meta: &Metadata) -> bool {
        let seconds = u64::try_from(meta.ctime()).unwrap_or(0);
        let part = u32::try_from(meta.ctime_nsec()).unwrap_or(0);
        let step = if part == 0 { STEPS } else { TICKS };
        Duration::new(seconds, part) + step < self.now
    }

    fn seen(&self, path: &Path, meta: &Metadata) -> Scan {
        let name = path.strip_prefix(self.root).unwrap_or(path);
        let mut hasher = DefaultHasher::new();
        hasher.write(name.as_os_str().as_bytes());
        (meta.mode(), meta.uid()).hash(&mut hasher);
        // What a folder holds is seen itself: that it was written to says nothing more.
        if !meta.is_dir() {
            (meta.dev(), meta.ino(), meta.len()).hash(&mut hasher);
            (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()).hash(&mut hasher);
        }
        let whole = hasher.finish();
        let leads_out =
            || meta.is_symlink() && !path.canonicalize().is_ok_and(|to| to.starts_with(self.root));
        Scan {
            whole,
            files: 1,
            configuration: if configures(name) { whole } else { 0 },
            settled: (meta.is_dir() || self.is_old(meta)) && !leads_out(),
        }
    }
}

/// Returns true if a configuration may be another one if that file is.
fn configures(name: &Path) -> bool {
    let file = name.file_name().unwrap_or(OsStr::new("")).as_bytes();
    let is_makefile = name.starts_with("arch") || name.components().count() == 1;
    file.starts_with(b"Kconfig")
        || (is_makefile && file.starts_with(b"Makefile"))
        || name.starts_with("scripts")
        || name.components().any(|part| part.as_os_str() == "configs")
}

/// What scripts/setlocalversion asks git for, of the repository at `.git`: the commit and its tags.
fn of_release(git: &Path) -> Result<Vec<PathBuf>> {
    let of_worktree = |text: String| text.strip_prefix("gitdir: ").map(|path| path.trim().into());
    let own: PathBuf = match git.is_dir() {
        true => git.into(),
        false => fs::read_to_string(git).ok().and_then(of_worktree).unwrap_or_else(|| git.into()),
    };
    let common = match fs::read_to_string(own.join("commondir")) {
        Ok(path) => own.join(path.trim()),
        Err(_) => own.clone(),
    };
    Ok(vec![own.join("HEAD"), common.join("packed-refs"), common.join("refs")])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// A tree, every file of which is old enough to be settled.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn write(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn scan(&self) -> Scan {
            let root = self.0.path().canonicalize().unwrap();
            Scan { settled: true, ..Scan::of(&root).unwrap() }
        }
    }

    #[test]
    fn each_change_is_seen_and_nothing_else() {
        let tree = Tree(tempfile::tempdir().unwrap());
        let path = |name: &str| tree.0.path().join(name);
        tree.write("kernel/a.c", "one");
        tree.write("kernel/b.c", "two");
        tree.write("Kconfig", "config A");
        tree.write("scripts/x.sh", "");
        tree.write(".git/HEAD", "ref: refs/heads/main");
        tree.write(".git/objects/aa", "");
        symlink("a.c", path("kernel/link")).unwrap();
        let mut last = tree.scan();
        assert_eq!(last, tree.scan());
        let mut changed = |what: &str, change: &dyn Fn()| {
            change();
            let scan = tree.scan();
            assert_ne!(scan, last, "{what}");
            let configures = scan.configuration != last.configuration;
            assert_eq!(scan, tree.scan());
            last = scan;
            configures
        };
        let same_size = || {
            let before = fs::metadata(path("kernel/a.c")).unwrap().modified().unwrap();
            tree.write("kernel/a.c", "two");
            fs::File::open(path("kernel/a.c")).unwrap().set_modified(before).unwrap();
        };
        assert!(!changed("the same size and time", &same_size));
        assert!(!changed("moved", &|| fs::rename(path("kernel/a.c"), path("kernel/c.c")).unwrap()));
        assert!(
            !changed("replaced", &|| fs::rename(path("kernel/b.c"), path("kernel/c.c")).unwrap())
        );
        assert!(!changed("removed", &|| fs::remove_file(path("kernel/c.c")).unwrap()));
        assert!(!changed("another link", &|| {
            fs::remove_file(path("kernel/link")).unwrap();
            symlink("b.c", path("kernel/link")).unwrap();
        }));
        assert!(!changed("a commit", &|| tree.write(".git/refs/heads/main", "0123")));
        let mode = std::fs::Permissions::from_mode(0o755);
        assert!(changed("a mode", &|| fs::set_permissions(path("Kconfig"), mode.clone()).unwrap()));
        assert!(changed("a Kconfig file", &|| tree.write("kernel/Kconfig.debug", "")));
        assert!(changed("a script", &|| tree.write("scripts/x.sh", "echo")));
        tree.write(".git/objects/bb", "");
        assert_eq!(tree.scan(), last, "objects of git are no source");
    }

    #[test]
    fn what_is_young_or_leads_out_is_not_settled() {
        let tree = Tree(tempfile::tempdir().unwrap());
        let root = tree.0.path().canonicalize().unwrap();
        assert!(Scan::of(&root).unwrap().settled, "an empty tree");
        symlink("/etc/passwd", root.join("link")).unwrap();
        assert!(!Scan::of(&root).unwrap().settled);
        fs::remove_file(root.join("link")).unwrap();
        tree.write("a.c", "text");
        let meta = fs::metadata(root.join("a.c")).unwrap();
        let written = Duration::new(meta.ctime().try_into().unwrap(), meta.ctime_nsec() as u32);
        let settled = |after| Scan::at(&root, written + after).unwrap().settled;
        assert!(!settled(TICKS / 2) && settled(STEPS * 2));
        assert!(!Scan::at(&root, written - STEPS).unwrap().settled, "the clock was set back");
        assert!(Scan::of(Path::new("/nowhere")).is_err());
    }
}
