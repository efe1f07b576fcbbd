//! A folder of the user's that something is built from: known by its contents, and built in a copy.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use walkdir::{DirEntry, WalkDir};

use crate::removal::remove_file;
use crate::store::hex;

/// What a build in place leaves beside its sources.
const BUILT: [&str; 7] = [".o", ".ko", ".mod", ".mod.c", ".cmd", ".order", ".symvers"];

/// A folder of sources.
#[derive(Debug, Clone, Copy)]
pub struct SourceFolder<'a>(pub &'a Path);

impl SourceFolder<'_> {
    /// Its files, sorted, without what is hidden or was built there. A link may lead out of it: what it leads to is meant.
    fn files(self) -> impl Iterator<Item = Result<DirEntry>> {
        let left_out = |entry: &DirEntry| {
            let name = entry.file_name().to_string_lossy();
            entry.depth() > 0
                && (name.starts_with('.') || BUILT.iter().any(|end| name.ends_with(end)))
        };
        let walk = WalkDir::new(self.0).follow_links(true).sort_by_file_name().into_iter();
        let all = walk.filter_entry(move |entry| !left_out(entry));
        let what = format!("cannot walk {}", self.0.display());
        all.map(move |entry| entry.with_context(|| what.clone()))
    }

    /// The hash of all names and contents, and of which files are executable.
    ///
    /// # Errors
    /// When something of it cannot be read.
    pub fn hash(self) -> Result<String> {
        let mut hasher = Sha256::new();
        for entry in self.files() {
            let entry = entry?;
            if entry.file_type().is_dir() {
                continue;
            }
            let path = entry.path();
            let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.strip_prefix(self.0)?.as_os_str().as_encoded_bytes();
            let mode = entry.metadata()?.permissions().mode();
            hasher.update([u8::from(mode & 0o100 != 0)]);
            for part in [name, &text] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        Ok(hex(&hasher.finalize()))
    }

    /// Copies it to a folder, which is made.
    ///
    /// # Errors
    /// When something of it cannot be copied.
    pub fn copy_to(self, to: &Path) -> Result<()> {
        for entry in self.files() {
            let entry = entry?;
            let place = to.join(entry.path().strip_prefix(self.0)?);
            let copied = match entry.file_type().is_dir() {
                true => fs::create_dir_all(&place),
                false => fs::copy(entry.path(), &place).map(drop),
            };
            copied.with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
        Ok(())
    }
}

/// The names of files, as the host writes them.
type Names = BTreeSet<Vec<u8>>;

impl SourceFolder<'_> {
    /// Has a folder, which may hold more, have the files of this one: what changed is copied, and what was copied
    /// before and is gone goes there too. `copied` is where it is kept what was.
    ///
    /// # Errors
    /// When something of it cannot be read or copied.
    pub fn mirror_to(self, to: &Path, copied: &Path) -> Result<()> {
        let entries: Vec<DirEntry> = self.files().collect::<Result<_>>()?;
        let name = |path: &Path| -> Result<Vec<u8>> {
            Ok(path.strip_prefix(self.0)?.as_os_str().as_encoded_bytes().to_owned())
        };
        let files = entries.iter().filter(|entry| !entry.file_type().is_dir());
        let names: Names = files.map(|entry| name(entry.path())).collect::<Result<_>>()?;
        let before = fs::read(copied).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let before: Names = before.unwrap_or_default();
        for gone in before.difference(&names) {
            remove_file(&to.join(OsStr::from_bytes(gone)))?;
        }
        fs::write(copied, serde_json::to_vec(&names)?)
            .with_context(|| format!("cannot write {}", copied.display()))?;
        for entry in entries {
            let (from, place) = (entry.path(), to.join(entry.path().strip_prefix(self.0)?));
            let failed = || format!("cannot copy {}", from.display());
            if entry.file_type().is_dir() {
                fs::create_dir_all(&place).with_context(failed)?;
            } else if !is_same(from, &place) {
                // One that may not be written can be replaced.
                remove_file(&place)?;
                fs::copy(from, &place).with_context(failed)?;
            }
        }
        Ok(())
    }
}

/// Returns true if two files have the same contents, and may be run by the same.
fn is_same(one: &Path, other: &Path) -> bool {
    let mode = |path: &Path| fs::metadata(path).map(|meta| (meta.len(), meta.permissions().mode()));
    let (Ok(first), Ok(second)) = (mode(one), mode(other)) else { return false };
    first == second && fs::read(one).ok() == fs::read(other).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_its_sources_alone() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("Makefile", "obj-m := a.o");
        write("a.c", "int a;");
        let hash = || SourceFolder(dir.path()).hash().unwrap();
        let first = hash();
        for built in
            ["a.o", "a.ko", "a.mod", "a.mod.c", ".a.o.cmd", "modules.order", "Module.symvers"]
        {
            write(built, "x");
        }
        assert_eq!(hash(), first);
        write("a.c", "int b;");
        assert_ne!(hash(), first);
    }

    #[test]
    fn a_mirror_follows_file_by_file() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let copied = to.path().join("copied");
        let write = |name: &str, text: &str| {
            let path = from.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let mirror = || SourceFolder(from.path()).mirror_to(to.path(), &copied).unwrap();
        let read = |name: &str| fs::read_to_string(to.path().join(name)).ok();
        let changed = |name: &str| fs::metadata(to.path().join(name)).unwrap().modified().unwrap();
        for name in ["same.c", "edited.c", "gone.c", "below/gone.h", "mode.sh"] {
            write(name, "old");
        }
        let read_only = |name: &str, mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            fs::set_permissions(from.path().join(name), mode).unwrap();
        };
        read_only("edited.c", 0o444);
        mirror();
        fs::write(to.path().join("same.o"), "built").unwrap();
        let before = changed("same.c");
        fs::remove_file(from.path().join("edited.c")).unwrap();
        write("edited.c", "new");
        read_only("mode.sh", 0o755);
        fs::remove_file(from.path().join("gone.c")).unwrap();
        fs::remove_dir_all(from.path().join("below")).unwrap();
        mirror();
        assert_eq!(read("edited.c").as_deref(), Some("new"));
        assert_eq!((read("gone.c"), read("below/gone.h")), (None, None));
        assert_eq!(read("same.o").as_deref(), Some("built"), "what was built there stays");
        assert_eq!(changed("same.c"), before, "make would build it anew");
        let mode = fs::metadata(to.path().join("mode.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
