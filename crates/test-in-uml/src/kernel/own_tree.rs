//! A tree of the user's own. It is never written into: what patches would change, they change in a
//! copy, which follows the tree file by file, so that make sees just what was edited.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use walkdir::WalkDir;

use super::patches::Series;
use super::tree::KernelTree;
use super::work::Work;
use crate::removal::remove_folder;
use crate::step::Step;
use crate::store::sha256_of;

/// The user's tree, ready to be configured: itself if `series` is in it, else its patched copy.
///
/// # Errors
/// When it is no kernel tree, was built in place, or a patch does not fit.
pub fn prepare(step: &Step<'_>, work: &Work, own: &Path, series: &Series) -> Result<KernelTree> {
    let tree = KernelTree::at(own.to_owned())?;
    // What the kernel's own Makefile takes for a tree that is not clean.
    ensure!(
        !own.join(".config").exists() && !own.join("include/config").exists(),
        "{0} was built in place, and make refuses to build such a tree elsewhere: run `make -C {0} \
         ARCH=um mrproper` (it removes .config too), or give a fresh checkout",
        own.display()
    );
    let files: HashSet<&Path> = series.files().collect();
    let (copy, stamp) = (work.source(), work.source_stamp());
    let patched = Patched::of(own, series, &files)?;
    if stamp.says(&patched) {
        mirror(own, &copy, &files)?;
        return KernelTree::at(copy);
    }
    stamp.remove()?;
    let dir = work.patched();
    remove_folder(&dir)?;
    for file in files.iter().filter(|file| own.join(file).exists()) {
        copy_file(&own.join(file), &dir.join(file))?;
    }
    if !files.is_empty() {
        series.apply(step, &dir)?;
    }
    let same = |file: &&Path| fs::read(own.join(file)).ok() == fs::read(dir.join(file)).ok();
    if files.iter().all(same) {
        remove_folder(&copy)?;
        remove_folder(&dir)?;
        return Ok(tree);
    }
    mirror(own, &copy, &files)?;
    for file in &files {
        replace_if_changed(&dir.join(file), &copy.join(file))?;
    }
    remove_folder(&dir)?;
    stamp.write(&patched)?;
    KernelTree::at(copy)
}

/// What the patched files of a copy were made from.
#[derive(Serialize)]
struct Patched<'a> {
    own: PathBuf,
    patches: Vec<String>,
    files: BTreeMap<&'a Path, Option<String>>,
}

impl<'a> Patched<'a> {
    fn of(own: &Path, series: &Series, files: &HashSet<&'a Path>) -> Result<Self> {
        let hashed = files.iter().map(|file| {
            let path = own.join(file);
            Ok((*file, path.exists().then(|| sha256_of(&path)).transpose()?))
        });
        let files = hashed.collect::<Result<_>>()?;
        Ok(Self { own: own.to_owned(), patches: series.hashes(), files })
    }
}

/// Makes `copy` what `own` is, but for `files`. What is the same stays untouched.
fn mirror(own: &Path, copy: &Path, files: &HashSet<&Path>) -> Result<()> {
    let mut there = HashSet::new();
    let is_git = |name: &std::ffi::OsStr| name == ".git";
    for entry in WalkDir::new(own).into_iter().filter_entry(|entry| !is_git(entry.file_name())) {
        let entry = entry.with_context(|| format!("cannot walk {}", own.display()))?;
        let name = entry.path().strip_prefix(own).context("a walk stays in its folder")?;
        there.insert(name.to_owned());
        if !files.contains(name) {
            sync_entry(entry.path(), &copy.join(name))?;
        }
    }
    for entry in WalkDir::new(copy).contents_first(true) {
        let entry = entry.with_context(|| format!("cannot walk {}", copy.display()))?;
        let name = entry.path().strip_prefix(copy).context("a walk stays in its folder")?;
        if !there.contains(name) && !files.iter().any(|file| file.starts_with(name)) {
            remove(entry.path())?;
        }
    }
    Ok(())
}

/// Brings one file, link or folder over, if it differs.
fn sync_entry(from: &Path, to: &Path) -> Result<()> {
    let meta = meta(from)?;
    if meta.is_dir() {
        if fs::symlink_metadata(to).is_ok_and(|old| !old.is_dir()) {
            remove(to)?;
        }
        return fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()));
    }
    let like = |old: &Metadata| {
        let id = |meta: &Metadata| (meta.file_type(), meta.len(), meta.mtime(), meta.mtime_nsec());
        id(old) == id(&meta) && old.mode() & 0o111 == meta.mode() & 0o111
    };
    if meta.is_symlink() {
        let target = fs::read_link(from);
        let target = target.with_context(|| format!("cannot read {}", from.display()))?;
        if fs::read_link(to).is_ok_and(|old| old == target) {
            return Ok(());
        }
        remove(to)?;
        return symlink(target, to).with_context(|| format!("cannot make {}", to.display()));
    }
    if fs::symlink_metadata(to).is_ok_and(|old| like(&old)) {
        return Ok(());
    }
    remove(to)?;
    copy_file(from, to)
}

/// Replaces `to` by `from`, unless they hold the same: make goes by the time of change.
fn replace_if_changed(from: &Path, to: &Path) -> Result<()> {
    match (fs::read(from), fs::read(to)) {
        (Ok(new), Ok(old)) if new == old => Ok(()),
        (Ok(new), _) => {
            make_parent(to)?;
            fs::write(to, new).with_context(|| format!("cannot write {}", to.display()))
        }
        (Err(error), _) if error.kind() == ErrorKind::NotFound => remove(to),
        (Err(error), _) => Err(error).with_context(|| format!("cannot read {}", from.display())),
    }
}

/// Copies a file with its time of change.
fn copy_file(from: &Path, to: &Path) -> Result<()> {
    make_parent(to)?;
    let copied = fs::copy(from, to).and_then(|_| {
        let file = fs::File::open(to)?;
        file.set_modified(fs::metadata(from)?.modified()?)
    });
    copied.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn make_parent(path: &Path) -> Result<()> {
    let parent: PathBuf = path.parent().context("a file is in a folder")?.into();
    fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))
}

fn meta(path: &Path) -> Result<Metadata> {
    fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))
}

/// Removes whatever is there, if anything is.
fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(dir: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            make_parent(&dir.join(name)).unwrap();
            fs::write(dir.join(name), text).unwrap();
        }
    }

    fn modified(path: &Path) -> std::time::SystemTime {
        fs::metadata(path).unwrap().modified().unwrap()
    }

    #[test]
    fn a_copy_follows_edits_removals_and_links() {
        let dir = tempfile::tempdir().unwrap();
        let (own, copy) = (dir.path().join("own"), dir.path().join("copy"));
        tree(&own, &[("a/b.c", "one"), ("gone/c.c", "two"), (".git/HEAD", "x"), ("p.c", "mine")]);
        symlink("b.c", own.join("a/link")).unwrap();
        let files = HashSet::from([Path::new("p.c"), Path::new("new/fp.c")]);
        mirror(&own, &copy, &files).unwrap();
        tree(&copy, &[("p.c", "patched"), ("new/fp.c", "added")]);
        let kept = modified(&copy.join("a/b.c"));
        assert_eq!(kept, modified(&own.join("a/b.c")));
        assert_eq!(fs::read_link(copy.join("a/link")).unwrap(), Path::new("b.c"));
        assert!(!copy.join(".git").exists());

        fs::remove_dir_all(own.join("gone")).unwrap();
        fs::remove_file(own.join("a/link")).unwrap();
        tree(&own, &[("a/link", "a file now"), ("a/b.c", "one!")]);
        mirror(&own, &copy, &files).unwrap();
        let read = |name: &str| fs::read_to_string(copy.join(name)).unwrap();
        assert_eq!((read("a/b.c"), read("a/link")), ("one!".into(), "a file now".into()));
        assert_eq!((read("p.c"), read("new/fp.c")), ("patched".into(), "added".into()));
        assert!(!copy.join("gone").exists());
    }

    #[test]
    fn what_is_the_same_keeps_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let (new, old) = (dir.path().join("new"), dir.path().join("old"));
        tree(dir.path(), &[("new", "same"), ("old", "same")]);
        let before = modified(&old);
        replace_if_changed(&new, &old).unwrap();
        assert_eq!(modified(&old), before);
        fs::write(&new, "other").unwrap();
        replace_if_changed(&new, &old).unwrap();
        assert_eq!(fs::read(&old).unwrap(), b"other");
        fs::remove_file(&new).unwrap();
        replace_if_changed(&new, &old).unwrap();
        assert!(!old.exists());
    }
}
