//! The files of the packages that are tested, where tests look for them.
//!
//! They are in memory. A case may write to them; that is noticed, as the next case is not to find them changed.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{Cursor, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tar::{Archive, EntryType};
use uml_protocol::wire::{Hash, Leftover, PackageFolder};
use uml_protocol::{PROGRAMS, path_of};

use crate::programs::Programs;

/// Whatever changes what a folder holds. Writing by a memory map is not told, but the close of its file is
/// (inotify(7)).
const CHANGES: AddWatchFlags = AddWatchFlags::IN_MODIFY
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVE);

/// What is there of packages.
pub struct PackageFiles {
    archive: Option<Hash>,
    changes: Inotify,
    folders: BTreeMap<WatchDescriptor, PathBuf>,
}

impl PackageFiles {
    /// Nothing is there yet.
    pub fn new() -> Result<Self> {
        let changes = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .context("cannot watch the packages' files")?;
        Ok(Self { archive: None, changes, folders: BTreeMap::new() })
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
        let place = Path::new(PROGRAMS).join("packages");
        let folders = unpack(&packed, &place).context("cannot unpack the packages' files")?;
        for inside in folders {
            let watch = self.changes.add_watch(&place.join(&inside), CHANGES);
            let watch = watch.context("cannot watch the packages' files")?;
            self.folders.insert(watch, Path::new("/").join(inside));
        }
        for root in &folder.roots {
            let there = Path::new(root);
            bind(&place.join(there.strip_prefix("/").unwrap_or(there)), there)
                .with_context(|| format!("cannot put the package's files at {root}"))?;
        }
        self.archive = Some(folder.archive);
        Ok(())
    }

    /// Readable when one was changed.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Names a file that was changed, if any was.
    pub fn changed(&self) -> Option<Leftover> {
        let mut first = None;
        while let Ok(events) = self.changes.read_events() {
            for event in events {
                let folder = self.folders.get(&event.wd).map_or(Path::new(""), PathBuf::as_path);
                first.get_or_insert_with(|| folder.join(event.name.unwrap_or_default()));
            }
        }
        first.map(|place| Leftover::PackageFile(place.display().to_string()))
    }
}

/// Unpacks an archive of the host's, with few system calls for each file. The folders that it has.
fn unpack(packed: &[u8], place: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir(place)?;
    let (mut bytes, mut folders) = (Vec::new(), Vec::new());
    for entry in Archive::new(Cursor::new(packed)).entries()? {
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
