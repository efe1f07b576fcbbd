//! A folder of the user's that something is built from: known by its contents, and built in a copy.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use walkdir::{DirEntry, WalkDir};

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
}
