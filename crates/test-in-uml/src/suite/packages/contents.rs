//! The files of packages, packed into one archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tar::{Builder, EntryType, Header};
use walkdir::{DirEntry, WalkDir};

/// What a folder has in it that a program can make again (Cache Directory Tagging Specification): cargo's target
/// folders do.
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// Files of the host by their places, and links.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    files: BTreeMap<PathBuf, Found>,
    folders: BTreeSet<PathBuf>,
    unreadable: Vec<PathBuf>,
}

#[derive(Debug, Clone)]
enum Found {
    /// One of the host's, at the same place.
    File {
        size: u64,
        mode: u32,
    },
    /// One that is held, and not executable.
    Held(Vec<u8>),
    Link(PathBuf),
}

impl Contents {
    /// Finds the files of a package: all that lies in its folder but what is another's or was made of it.
    pub fn find(&mut self, folder: &Path, members: &[PathBuf]) {
        let is_its = |entry: &DirEntry| {
            let path = entry.path();
            path == folder
                || !entry.file_type().is_dir()
                || !(entry.file_name() == ".git"
                    || path.join(CACHE_TAG).exists()
                    || members.iter().any(|member| member == path))
        };
        for entry in WalkDir::new(folder).into_iter().filter_entry(is_its) {
            let found = match &entry {
                Ok(entry) => self.add(entry),
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            let path = entry.as_ref().map_or_else(walkdir::Error::path, |entry| Some(entry.path()));
            if let (Err(_), Some(path)) = (found, path) {
                self.unreadable.push(path.into());
            }
        }
    }

    fn add(&mut self, entry: &DirEntry) -> io::Result<()> {
        let path = entry.path().to_owned();
        let kind = entry.file_type();
        if kind.is_dir() {
            self.folders.insert(path);
        } else if kind.is_symlink() {
            let target = fs::read_link(&path)?;
            self.files.insert(path, Found::Link(target));
        } else if kind.is_file() {
            let file = entry.metadata()?;
            self.files.insert(path, Found::File { size: file.len(), mode: mode(&file) });
        }
        Ok(())
    }

    /// Adds a link at a place of the host.
    pub fn link(&mut self, place: &Path, target: &Path) {
        self.folders.extend(place.parent().map(Into::into));
        self.files.insert(place.into(), Found::Link(target.into()));
    }

    /// Adds a folder at a place of guests.
    pub fn folder(&mut self, place: &Path) {
        self.folders.insert(place.into());
    }

    /// Adds a file with these contents at a place of guests.
    pub fn put(&mut self, place: &Path, bytes: Vec<u8>) {
        self.folders.extend(place.parent().map(Into::into));
        self.files.insert(place.into(), Found::Held(bytes));
    }

    pub fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.files.is_empty()
    }

    /// What is there and cannot be read: of files that is known once they are packed.
    pub fn unreadable(&self) -> &[PathBuf] {
        &self.unreadable
    }

    /// How much it is, and where most of it lies, if it is more than this many bytes.
    pub fn over(&self, limit: u64) -> Option<String> {
        let mut sizes: BTreeMap<&Path, u64> = BTreeMap::new();
        for (path, found) in &self.files {
            let size = match found {
                Found::File { size, .. } => *size,
                Found::Held(bytes) => bytes.len() as u64,
                Found::Link(_) => continue,
            };
            *sizes.entry(path.parent().unwrap_or(path)).or_default() += size;
        }
        let sum: u64 = sizes.values().sum();
        let (folder, most) = sizes.iter().max_by_key(|(_, size)| **size)?;
        (sum > limit).then(|| {
            let [sum, limit, most] = [sum, limit, *most].map(|bytes| bytes.div_ceil(1 << 20));
            let folder = folder.display();
            format!(
                "the packages' files take {sum} MiB, {most} of them in {folder}, and {limit} fit into guests \
                 of this memory"
            )
        })
    }

    /// The folders that are in no other.
    pub fn roots(&self) -> Vec<String> {
        let mut roots: Vec<&Path> = Vec::new();
        for folder in &self.folders {
            if !roots.last().is_some_and(|root| folder.starts_with(root)) {
                roots.push(folder);
            }
        }
        roots.into_iter().filter_map(|root| Some(root.to_str()?.to_owned())).collect()
    }

    /// The archive: the same for the same files, whenever they were written and by whom.
    ///
    /// # Errors
    /// When a file that was opened cannot be read. One that is gone, or cannot be opened, is left out.
    pub fn pack(&mut self) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for folder in &self.folders {
            let mut header = header(EntryType::Directory, 0o755, 0);
            archive.append_data(&mut header, inside(folder), io::empty())?;
        }
        for (path, found) in &self.files {
            match found {
                Found::Link(target) => {
                    let mut header = header(EntryType::Symlink, 0o777, 0);
                    archive.append_link(&mut header, inside(path), target)?;
                }
                Found::Held(bytes) => {
                    let mut header = header(EntryType::Regular, 0o644, bytes.len() as u64);
                    archive.append_data(&mut header, inside(path), &bytes[..])?;
                }
                Found::File { mode, .. } => {
                    let mut file = match File::open(path) {
                        Ok(file) => file,
                        // An editor or a build has removed it since.
                        Err(error) if error.kind() == ErrorKind::NotFound => continue,
                        Err(_) => {
                            self.unreadable.push(path.clone());
                            continue;
                        }
                    };
                    let mut bytes = Vec::new();
                    file.read_to_end(&mut bytes)
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    let mut header = header(EntryType::Regular, *mode, bytes.len() as u64);
                    archive.append_data(&mut header, inside(path), &bytes[..])?;
                }
            }
        }
        archive.into_inner().context("cannot pack the packages' files")
    }
}

/// A place as archives have it.
fn inside(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A file's mode, as far as git knows one.
fn mode(file: &Metadata) -> u32 {
    if file.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_package_is_what_lies_in_its_folder_and_is_no_other_s() {
        let folder = tempfile::tempdir().unwrap();
        let [package, member] = ["repo", "repo/member"].map(|name| folder.path().join(name));
        let files = [
            "Cargo.toml",
            "data/x y",
            ".hidden",
            ".git/HEAD",
            "target/CACHEDIR.TAG",
            "member/lib.rs",
        ];
        for file in files.map(|file| package.join(file)) {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "12345").unwrap();
        }
        std::os::unix::fs::symlink("data", package.join("link")).unwrap();
        let mut contents = Contents::default();
        contents.find(&package, &[package.clone(), member.clone()]);
        let names: Vec<&OsStr> =
            contents.files.keys().filter_map(|path| path.file_name()).collect();
        assert_eq!(names, [".hidden", "Cargo.toml", "x y", "link"]);

        // One root is in the other.
        contents.find(&member, &[]);
        contents.link(&package.join("target/tmp"), Path::new("/tmp"));
        assert_eq!(contents.roots(), [package.to_str().unwrap()]);

        assert_eq!(contents.over(20), None);
        let said = contents.over(19).unwrap();
        assert!(said.contains("1 MiB"), "{said}");
    }

    #[test]
    fn an_archive_does_not_tell_when_and_by_whom_its_files_were_written() {
        let pack = || {
            let folder = tempfile::tempdir().unwrap();
            let gone = folder.path().join("gone");
            fs::write(folder.path().join("long".repeat(50)), "text").unwrap();
            fs::write(&gone, "").unwrap();
            let mut contents = Contents::default();
            contents.find(folder.path(), &[]);
            fs::remove_file(gone).unwrap();
            let packed = contents.pack().unwrap();
            let mut archive = tar::Archive::new(&packed[..]);
            let entries = archive.entries().unwrap();
            let mut found = Vec::new();
            for entry in entries {
                let entry = entry.unwrap();
                let path = entry.path().unwrap().into_owned();
                assert!(path.is_relative(), "{}", path.display());
                let header = entry.header();
                found.push((
                    header.mtime().unwrap(),
                    header.uid().unwrap(),
                    header.mode().unwrap(),
                ));
            }
            found
        };
        assert_eq!(pack(), [(0, 0, 0o755), (0, 0, 0o644)]);
    }
}
