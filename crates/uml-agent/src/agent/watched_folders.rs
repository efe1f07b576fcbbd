//! Folders in which it is noticed what is done (inotify(7)).

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// Folders that are watched.
pub struct WatchedFolders {
    inotify: Inotify,
    names: BTreeMap<WatchDescriptor, PathBuf>,
}

impl WatchedFolders {
    /// None is watched yet.
    pub fn new() -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .context("cannot watch folders")?;
        Ok(Self { inotify, names: BTreeMap::new() })
    }

    /// Watches what is done in a folder, which is called `name` from then on.
    pub fn add(&mut self, folder: &Path, name: PathBuf, what: AddWatchFlags) -> Result<(), Errno> {
        let watch = self.inotify.add_watch(folder, what)?;
        self.names.insert(watch, name);
        Ok(())
    }

    /// Readable when something was done.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// The places where something was done, each once.
    pub fn changed(&self) -> Vec<PathBuf> {
        let mut places = Vec::new();
        while let Ok(events) = self.inotify.read_events() {
            // A file system that is unmounted is told of elsewhere.
            let gone = AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_UNMOUNT;
            for event in events.into_iter().filter(|event| !event.mask.intersects(gone)) {
                let folder = self.names.get(&event.wd).map(PathBuf::as_path);
                let folder = folder.unwrap_or(Path::new("more than can be named"));
                let place = folder.join(event.name.unwrap_or_default());
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        places
    }
}
