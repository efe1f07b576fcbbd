//! From the stream of a tar archive to a tree of files.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use tar::{Entry, EntryType};

use super::entry::{Stripped, check_symlink, plain};
use super::{EntryLimits, TopDir};
use crate::cancel::CancelToken;

const BLOCK: u64 = 512;

/// The headers of one entry are not longer than this: the tar crate reads names into memory.
const HEADERS: u64 = 1 << 20;

/// Unpacks the stream into `root`, an empty folder that nobody else writes to.
pub(super) fn unpack_into(
    cancel: &CancelToken,
    stream: Box<dyn Read>,
    root: &Path,
    top: TopDir,
    limits: EntryLimits,
) -> Result<()> {
    let meter = Rc::new(Meter::default());
    let mut archive = tar::Archive::new(Metered { stream, meter: meter.clone() });
    let mut tree = UnpackedTree::new(root, top);
    let (mut count, mut bytes, mut end) = (0, 0_u64, 0_u64);
    let mut entries = archive.entries().context("cannot read the archive")?;
    loop {
        cancel.check()?;
        meter.allow(HEADERS);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.context("the archive is damaged or cut short")?;
        count += 1;
        // An archive may say any size.
        bytes = bytes.saturating_add(entry.size());
        ensure!(
            count <= limits.entries && bytes <= limits.bytes,
            "more than {} entries or {} bytes: no kernel's source is that large",
            limits.entries,
            limits.bytes
        );
        end = entry.raw_file_position().saturating_add(entry.size().next_multiple_of(BLOCK));
        meter.allow(entry.size());
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        tree.add(&mut entry).with_context(|| format!("the entry {name:?}"))?;
    }
    // The tar crate takes the end of the stream for the end of the archive, which is a block of
    // zeros.
    ensure!(count > 0, "the archive is empty");
    ensure!(meter.read.get() >= end + BLOCK, "the archive is cut short");
    expect_only_zeros(archive.into_inner())?;
    tree.finish()
}

/// Reads the stream to its end: checksums stand there, and nothing else may.
fn expect_only_zeros(mut rest: Metered) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        rest.meter.allow(BLOCK << 11);
        let count = rest.read(&mut buffer).context("the archive is damaged or cut short")?;
        ensure!(buffer[..count].iter().all(|byte| *byte == 0), "something follows the archive");
        if count == 0 {
            return Ok(());
        }
    }
}

/// How much was read, and how much more may be.
#[derive(Debug, Default)]
struct Meter {
    read: Cell<u64>,
    allowed: Cell<u64>,
}

impl Meter {
    fn allow(&self, count: u64) {
        self.allowed.set(count);
    }
}

struct Metered {
    stream: Box<dyn Read>,
    meter: Rc<Meter>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)? as u64;
        let left = self.meter.allowed.get().checked_sub(count);
        let left = left.ok_or_else(|| io::Error::other("an entry has no end to its headers"))?;
        self.meter.allowed.set(left);
        self.meter.read.set(self.meter.read.get() + count);
        Ok(count as usize)
    }
}

/// The tree as it grows. What was made is known by name, so that nothing is ever written through
/// a link or over another entry.
struct UnpackedTree<'a> {
    root: &'a Path,
    stripped: Option<Stripped>,
    /// Folders with the mode and the time that they get at the end.
    dirs: HashMap<PathBuf, Option<(u32, SystemTime)>>,
    /// Plain files, which a hard link may lead to.
    files: HashSet<PathBuf>,
    buffer: Vec<u8>,
}

impl<'a> UnpackedTree<'a> {
    fn new(root: &'a Path, top: TopDir) -> Self {
        Self {
            root,
            stripped: (top == TopDir::Strip).then(Stripped::default),
            dirs: HashMap::from([(PathBuf::new(), None)]),
            files: HashSet::new(),
            buffer: vec![0; 1 << 18],
        }
    }

    fn place(&mut self, path: &Path) -> Result<PathBuf> {
        let plain = plain(path)?;
        match &mut self.stripped {
            // An archive made by `tar -C DIR .` names its root as `./`.
            Some(_) if plain.as_os_str().is_empty() => Ok(plain),
            Some(stripped) => stripped.strip(&plain),
            None => Ok(plain),
        }
    }

    fn add(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            // Git writes the commit into one.
            return Ok(());
        }
        let path = self.place(&entry.path().context("its name is not a path")?)?;
        match kind {
            EntryType::Directory => return self.add_dir(path, entry),
            _ if path.as_os_str().is_empty() => bail!("it is not in a folder"),
            _ => {}
        }
        self.make_parents(&path)?;
        let target = entry.link_name().context("its link is not a path")?;
        let target = target.map(|target| target.into_owned());
        match kind {
            EntryType::Regular | EntryType::Continuous => self.add_file(path, entry),
            EntryType::Symlink => {
                let target = target.context("it is a link to nothing")?;
                check_symlink(&path, &target)?;
                let path = self.root.join(path);
                symlink(&target, &path).context("cannot make the link")?;
                let time = TimeSpec::from_duration(modified(entry)?.duration_since(UNIX_EPOCH)?);
                utimensat(AT_FDCWD, &path, &time, &time, UtimensatFlags::NoFollowSymlink)
                    .context("cannot set the link's time")
            }
            EntryType::Link => {
                let target = self.place(&target.context("it is a link to nothing")?)?;
                ensure!(
                    self.files.contains(&target),
                    "it is a hard link to {}, which is no file before it",
                    target.display()
                );
                fs::hard_link(self.root.join(&target), self.root.join(&path))
                    .context("cannot make the hard link")?;
                self.files.insert(path);
                Ok(())
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                bail!("it is a device or a FIFO, which a source archive has no use for")
            }
            other => bail!("its type {:?} is not one we unpack", char::from(other.as_byte())),
        }
    }

    fn add_dir(&mut self, path: PathBuf, entry: &Entry<'_, impl Read>) -> Result<()> {
        if !self.dirs.contains_key(&path) {
            self.make_parents(&path)?;
            make_dir(&self.root.join(&path))?;
        }
        self.dirs.insert(path, Some((mode(entry)?, modified(entry)?)));
        Ok(())
    }

    /// Some archives leave the entries of folders out.
    fn make_parents(&mut self, path: &Path) -> Result<()> {
        let Some(parent) = path.parent().filter(|parent| !self.dirs.contains_key(*parent)) else {
            return Ok(());
        };
        self.make_parents(parent)?;
        make_dir(&self.root.join(parent))?;
        self.dirs.insert(parent.to_owned(), None);
        Ok(())
    }

    fn add_file(&mut self, path: PathBuf, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            // An entry of that name, be it a link, is an error.
            .create_new(true)
            .mode(0o600)
            .open(self.root.join(&path))
            .context("cannot make the file")?;
        let size = entry.size();
        let copied = copy(entry, &mut file, &mut self.buffer)?;
        ensure!(copied == size, "it is cut short, {copied} of {size} bytes");
        file.set_permissions(Permissions::from_mode(mode(entry)? | 0o600))
            .and_then(|()| file.set_modified(modified(entry)?))
            .context("cannot set the file's mode and time")?;
        self.files.insert(path);
        Ok(())
    }

    /// Gives the folders their modes and times, which writing into them would have changed.
    fn finish(self) -> Result<()> {
        for (path, wanted) in self.dirs {
            let path = self.root.join(path);
            let finish = || -> io::Result<()> {
                let dir = File::open(&path)?;
                // What was left out gets what tar would give it, whatever the umask.
                let (mode, time) = wanted.unwrap_or((0o755, SystemTime::now()));
                dir.set_permissions(Permissions::from_mode(mode | 0o700))?;
                dir.set_modified(time)
            };
            finish().with_context(|| format!("cannot finish {}", path.display()))?;
        }
        Ok(())
    }
}

/// Copies by way of `buffer`, in one read and one write for most files of a kernel.
fn copy(from: &mut impl Read, to: &mut File, buffer: &mut [u8]) -> Result<u64> {
    let mut copied = 0;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match from.read(&mut buffer[filled..]).context("the archive is damaged")? {
                0 => break,
                count => filled += count,
            }
        }
        to.write_all(&buffer[..filled]).context("cannot write the file")?;
        copied += filled as u64;
        if filled < buffer.len() {
            return Ok(copied);
        }
    }
}

fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path).context("cannot make a folder for it")
}

fn mode(entry: &Entry<'_, impl Read>) -> io::Result<u32> {
    // Nothing in a source tree is to run as somebody else.
    Ok(entry.header().mode()? & 0o777)
}

fn modified(entry: &Entry<'_, impl Read>) -> io::Result<SystemTime> {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(entry.header().mtime()?))
        .ok_or_else(|| io::Error::other("its time is out of range"))
}
