//! The files of the packages that are tested, where tests look for them.
//!
//! They are in memory. A case may write to them; that is noticed, as the next case is not to find them changed.

use std::fs::{self, DirBuilder, File};
use std::io::{Read as _, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::inotify::AddWatchFlags;
use tar::{Archive, EntryType};
use uml_protocol::wire::{Hash, Leftover, PackageFolder};
use uml_protocol::{PROGRAMS, path_of};

use crate::programs::Programs;
use crate::watched_folders::WatchedFolders;

/// Whatever changes what a folder holds. Writing by a memory map is not told, but the close of its file is
/// (inotify(7)).
const CHANGES: AddWatchFlags = AddWatchFlags::IN_MODIFY
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVE);

/// The folder of programs that they are in.
const PLACE: &str = "packages";

/// What is there of packages.
pub struct PackageFiles {
    archive: Option<Hash>,
    folders: WatchedFolders,
}

impl PackageFiles {
    /// Nothing is there yet.
    pub fn new() -> Result<Self> {
        Ok(Self { archive: None, folders: WatchedFolders::new()? })
    }

    /// Puts the files where they belong, unless they are there.
    pub fn provide(&mut self, folder: &PackageFolder, programs: &mut Programs) -> Result<()> {
        if self.archive == Some(folder.archive) {
            return Ok(());
        }
        ensure!(self.archive.is_none(), "the guest has other files of packages already");
        let packed =
            fs::read(path_of(&folder.archive)).context("cannot read the packages' files")?;
        // They are not to be in memory twice.
        programs.remove(&folder.archive)?;
        let place = Path::new(PROGRAMS).join(PLACE);
        let folders = unpack(&packed, &place).context("cannot unpack the packages' files")?;
        for inside in folders {
            self.folders
                .add(&place.join(&inside), Path::new("/").join(inside), CHANGES)
                .context("cannot watch the packages' files")?;
        }
        for root in &folder.roots {
            let there = Path::new(root);
            bind(&place.join(there.strip_prefix("/").unwrap_or(there)), there)
                .with_context(|| format!("cannot put the package's files at {root}"))?;
        }
        self.archive = Some(folder.archive);
        Ok(())
    }

    /// Has a program that is called at a place of theirs be there itself, not by a link: what it learns of itself, by
    /// /proc/self/exe for example, is that place.
    pub fn place_program(&self, called: &str, hash: &Hash, programs: &mut Programs) -> Result<()> {
        // Both are of one mount: link(2) crosses none.
        let place = Path::new(PROGRAMS).join(PLACE).join(called.trim_start_matches('/'));
        if fs::symlink_metadata(&place).is_ok_and(|found| !found.is_symlink()) {
            return Ok(());
        }
        fs::remove_file(&place)
            .and_then(|()| fs::hard_link(path_of(hash), &place))
            .with_context(|| format!("cannot put a program at {called}"))?;
        programs.look_again(hash)?;
        // That was us.
        self.folders.changed();
        Ok(())
    }

    /// Has these links be there, each at its place.
    pub fn link(&self, links: &[(String, String)]) -> Result<()> {
        for (place, target) in links {
            let place = Path::new(place);
            if place.exists() {
                continue;
            }
            fs::create_dir_all(place.parent().unwrap_or(Path::new("/")))
                .and_then(|()| symlink(target, place))
                .with_context(|| format!("cannot put a link at {}", place.display()))?;
        }
        // That was us.
        self.folders.changed();
        Ok(())
    }

    /// Readable when one was changed.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.folders.as_fd()
    }

    /// Names a file that was changed, if any was.
    pub fn changed(&self) -> Option<Leftover> {
        let first = self.folders.changed().into_iter().next()?;
        Some(Leftover::PackageFile(first.display().to_string()))
    }
}

/// Unpacks an archive of the host's, with few system calls for each file. The folders that it has.
fn unpack(packed: &[u8], place: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir(place)?;
    let (mut bytes, mut folders) = (Vec::new(), Vec::new());
    for entry in Archive::new(packed).entries()? {
        let mut entry = entry?;
        let inside = entry.path()?.into_owned();
        let path = place.join(&inside);
        let mode = entry.header().mode()?;
        match entry.header().entry_type() {
            EntryType::Directory => {
                DirBuilder::new().recursive(true).mode(mode).create(path)?;
                folders.push(inside);
            }
            EntryType::Symlink => symlink(entry.link_name()?.unwrap_or_default(), path)?,
            _ => {
                bytes.clear();
                entry.read_to_end(&mut bytes)?;
                let mut file =
                    File::options().write(true).create_new(true).mode(mode).open(path)?;
                file.write_all(&bytes)?;
            }
        }
    }
    Ok(folders)
}

/// Has a folder at another place too.
fn bind(folder: &Path, place: &Path) -> Result<()> {
    fs::create_dir_all(place)?;
    let nothing = None::<&str>;
    Ok(mount(Some(folder), place, nothing, MsFlags::MS_BIND, nothing)?)
}
