//! The programs that the host sent, each kept by its hash: a program is sent once per guest.
//!
//! A case may do to their files what it likes, as to everything in its guest. What it did is
//! noticed: the next case is not to run another program than the host sent.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};
use uml_protocol::path_of;
use uml_protocol::wire::{Hash, Leftover};

/// A program that is still arriving.
pub struct Arriving {
    hash: Hash,
    left: u64,
    hasher: Sha256,
    file: File,
}

/// Begins to receive a program.
pub fn begin(hash: Hash, size: u64) -> Result<Arriving> {
    let path = path_of(&hash).with_extension("part");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(Arriving { hash, left: size, hasher: Sha256::new(), file })
}

impl Arriving {
    /// Takes a chunk; true once it was the last.
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool> {
        ensure!(bytes.len() as u64 <= self.left, "a program is longer than it was said to be");
        self.left -= bytes.len() as u64;
        self.hasher.update(bytes);
        self.file.write_all(bytes).context("cannot keep a program")?;
        Ok(self.left == 0)
    }

    /// Checks the hash and makes the program one that can be run.
    fn finish(self) -> Result<()> {
        let path = path_of(&self.hash);
        ensure!(self.hasher.finalize()[..] == self.hash, "a program arrived with another hash");
        self.file.set_permissions(Permissions::from_mode(0o755))?;
        // A file that is open for writing cannot be executed.
        drop(self.file);
        fs::rename(path.with_extension("part"), &path)
            .with_context(|| format!("cannot keep {}", path.display()))
    }
}

/// The programs that are here.
#[derive(Default)]
pub struct Programs {
    kept: BTreeMap<Hash, Look>,
    latest: Option<(i64, i64)>,
}

/// How a file looks from outside: whatever changes or replaces it changes this.
#[derive(PartialEq, Eq)]
struct Look {
    place: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl Look {
    fn at(path: &Path) -> io::Result<Self> {
        let file = fs::symlink_metadata(path)?;
        Ok(Self {
            place: (file.dev(), file.ino()),
            size: file.size(),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

impl Programs {
    /// Returns true if a program is here, as the host sent it.
    pub fn have(&self, hash: &Hash) -> bool {
        self.kept.get(hash).is_some_and(|look| is_still(look, hash))
    }

    /// Keeps a program that has arrived.
    pub fn keep(&mut self, program: Arriving) -> Result<()> {
        let hash = program.hash;
        program.finish()?;
        self.look_again(&hash)
    }

    /// Takes a program for what it is now.
    pub fn look_again(&mut self, hash: &Hash) -> Result<()> {
        let look = Look::at(&path_of(hash)).context("cannot look at a program")?;
        self.latest = Some(look.changed);
        self.kept.insert(*hash, look);
        Ok(())
    }

    /// Removes a file that has served.
    pub fn remove(&mut self, hash: &Hash) -> Result<()> {
        self.kept.remove(hash);
        let path = path_of(hash);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Waits until every change to a program will show: until the clock that file systems stamp their
    /// files by, which goes forward by ticks, has left the tick of the last of them. No tick is longer
    /// than 10 ms; a clock that was set back meanwhile is waited for no longer.
    pub fn settle(&mut self) -> Result<()> {
        let Some(latest) = self.latest.take() else { return Ok(()) };
        for _ in 0..20 {
            let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).context("no clock")?;
            if (now.tv_sec(), now.tv_nsec()) > latest {
                break;
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Names the programs that are not what they were.
    pub fn changed(&self) -> impl Iterator<Item = Leftover> {
        let changed = self.kept.iter().filter(|(hash, look)| !is_still(look, hash));
        changed.map(|(hash, _)| Leftover::Program(path_of(hash).display().to_string()))
    }
}

fn is_still(look: &Look, hash: &Hash) -> bool {
    Look::at(&path_of(hash)).is_ok_and(|now| now == *look)
}
