//! The work folder of a kernel or a module: its source and its objects. One run at a time uses it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use walkdir::WalkDir;

use crate::ctx::Ctx;
use crate::lock;
use crate::removal::{remove_file, remove_folder};
use crate::store::trust;

/// The folder, locked for as long as this lives.
#[derive(Debug)]
pub struct Work {
    dir: PathBuf,
    _lock: File,
}

impl Work {
    /// Opens the work folder of the kernel `name`, and waits for another run that uses it.
    ///
    /// # Errors
    /// When it cannot be made or locked, or the user asks us to stop.
    pub fn open(ctx: &Ctx, name: &str) -> Result<Self> {
        Self::at(ctx, ctx.layout.kernel_work(name), &format!("kernel {name}"))
    }

    /// Opens such a folder at a place of its own: `what` is built there.
    ///
    /// # Errors
    /// As of [`Work::open`].
    pub fn at(ctx: &Ctx, dir: PathBuf, what: &str) -> Result<Self> {
        ctx.hold_checkout()?;
        ensure_buildable(&dir)?;
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        trust::ensure_writable(&dir)?;
        let lock = lock::open(&dir.join("lock"))?;
        let say = || ctx.ui.say(&format!("waiting for another run that builds {what} …"));
        lock::wait_for(&ctx.cancel, || lock.try_lock(), say)?;
        Ok(Self { dir, _lock: lock })
    }

    /// The source tree.
    pub fn source(&self) -> PathBuf {
        self.dir.join("src")
    }

    /// What was copied there file by file.
    pub fn copied(&self) -> PathBuf {
        self.dir.join("copied.json")
    }

    /// Where a source tree is before it is whole.
    pub fn partial_source(&self) -> PathBuf {
        self.dir.join("src.partial")
    }

    /// Where patches change what they touch of a tree that is not ours to change.
    pub fn patched(&self) -> PathBuf {
        self.dir.join("patched")
    }

    /// Says what the source tree is; there only when it is whole.
    pub fn source_stamp(&self) -> WorkStamp {
        WorkStamp(self.dir.join("src.stamp"))
    }

    /// The build folder, make's `O=`.
    pub fn build(&self) -> PathBuf {
        self.dir.join("build")
    }

    /// Says what the objects were built from; there only when no build was cut short.
    pub fn build_stamp(&self) -> WorkStamp {
        WorkStamp(self.dir.join("build.stamp"))
    }

    /// Says what is being built; its time of change is when that began.
    pub fn begun_stamp(&self) -> WorkStamp {
        WorkStamp(self.dir.join("build.begun"))
    }

    /// Prepares the build folder for objects made from `what`; says whether those of earlier builds
    /// are all there.
    ///
    /// # Errors
    /// When what must not stay cannot be removed.
    pub fn begin_build(&self, what: &impl Serialize) -> Result<Objects> {
        let (whole, begun, build) = (self.build_stamp(), self.begun_stamp(), self.build());
        let objects = match (whole.says(what), begun.says(what)) {
            (true, _) => Objects::Whole,
            // A clock that was set back since leaves no way to tell what is younger.
            (false, true) if begun.is_of_the_future() => {
                remove_folder(&build)?;
                Objects::None
            }
            (false, true) => {
                // A compiler that was killed may have left half an object that make would trust.
                begun.remove_younger(&build)?;
                Objects::Some
            }
            (false, false) => {
                remove_folder(&build)?;
                Objects::None
            }
        };
        whole.remove()?;
        begun.write(what)?;
        fs::create_dir_all(&build).with_context(|| format!("cannot make {}", build.display()))?;
        Ok(objects)
    }

    /// Ends what [`Work::begin_build`] began: the build folder is whole.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn end_build(&self, what: &impl Serialize) -> Result<()> {
        self.build_stamp().write(what)?;
        self.begun_stamp().remove()
    }

    /// What guests need of a tree's kernel.
    pub fn results(&self) -> PathBuf {
        self.dir.join("results")
    }

    /// Says what they were made from; there only when no file of the tree can have changed unseen since.
    pub fn results_stamp(&self) -> WorkStamp {
        WorkStamp(self.dir.join("results.stamp"))
    }

    /// Says what the configuration of the build folder was made from.
    pub fn configured_stamp(&self) -> WorkStamp {
        WorkStamp(self.dir.join("configured.stamp"))
    }

    /// All that the fragments ask for, as one.
    pub fn requested(&self) -> PathBuf {
        self.dir.join("requested.config")
    }
}

/// Refuses a folder that the kernel's Makefiles cannot use: they take a space for the end of a name,
/// and a colon for the end of a list.
///
/// # Errors
/// When its path has one.
pub fn ensure_buildable(dir: &Path) -> Result<()> {
    let odd = |c: char| c.is_whitespace() || c == ':' || c == '%';
    ensure!(
        !dir.to_string_lossy().contains(odd),
        "make cannot use {}, for a space, a colon or a percent sign in its path: use another \
         (CARGO_TARGET_DIR names the folder that kernels are built in)",
        dir.display()
    );
    Ok(())
}

/// What a build folder holds of earlier builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objects {
    /// All that make left there.
    Whole,
    /// What a build had finished before it was cut short.
    Some,
    /// Nothing.
    None,
}

/// A file that says that something is whole, and what it was made from.
#[derive(Debug)]
pub struct WorkStamp(PathBuf);

impl WorkStamp {
    /// Returns true if it is there, and says `what`.
    pub fn says(&self, what: &impl Serialize) -> bool {
        let expected = serde_json::to_vec(what);
        expected.is_ok_and(|expected| fs::read(&self.0).is_ok_and(|found| found == expected))
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, what: &impl Serialize) -> Result<()> {
        let partial = self.0.with_extension("stamp.partial");
        let text = serde_json::to_vec(what).context("cannot write a stamp")?;
        fs::write(&partial, text)
            .and_then(|()| File::open(&partial)?.sync_all())
            .and_then(|()| fs::rename(&partial, &self.0))
            .with_context(|| format!("cannot write {}", self.0.display()))
    }

    fn is_of_the_future(&self) -> bool {
        let written = fs::symlink_metadata(&self.0).and_then(|meta| meta.modified());
        written.is_ok_and(|written| written > SystemTime::now())
    }

    /// Removes the files in `dir` that were changed since it was written.
    fn remove_younger(&self, dir: &Path) -> Result<()> {
        let time = |path: &Path| fs::symlink_metadata(path).and_then(|meta| meta.modified());
        let begun =
            time(&self.0).with_context(|| format!("cannot look at {}", self.0.display()))?;
        for entry in WalkDir::new(dir) {
            let entry = entry.with_context(|| format!("cannot walk {}", dir.display()))?;
            let path = entry.path();
            if !entry.file_type().is_dir() && time(path).is_ok_and(|time| time >= begun) {
                fs::remove_file(path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Removes it, if it is there: what it spoke of is about to change.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self) -> Result<()> {
        remove_file(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_a_build_that_was_cut_short_stay_unless_the_clock_was_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let lock = File::create(dir.path().join("lock")).unwrap();
        let work = Work { dir: dir.path().into(), _lock: lock };
        assert_eq!(work.begin_build(&"a").unwrap(), Objects::None);
        let day = std::time::Duration::from_secs(24 * 60 * 60);
        let age = |path: &Path, time| File::open(path).unwrap().set_modified(time).unwrap();
        let (early, late) = (work.build().join("early.o"), work.build().join("late.o"));
        for object in [&early, &late] {
            fs::write(object, "object").unwrap();
        }
        age(&early, SystemTime::now() - day);
        assert_eq!(work.begin_build(&"a").unwrap(), Objects::Some);
        assert!(early.exists() && !late.exists());
        age(&work.begun_stamp().0, SystemTime::now() + day);
        assert_eq!(work.begin_build(&"a").unwrap(), Objects::None);
        assert!(!early.exists());
    }

    #[test]
    fn a_stamp_says_one_thing_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = WorkStamp(dir.path().join("build.stamp"));
        assert!(!stamp.says(&"a"));
        stamp.write(&"a").unwrap();
        assert!(stamp.says(&"a") && !stamp.says(&"b"));
        stamp.remove().unwrap();
        stamp.remove().unwrap();
        assert!(!stamp.says(&"a"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
