//! What the kernel says of itself in /proc, whatever a case does to that.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use uml_protocol::PROGRAMS;

/// Files of a /proc that nobody else sees, so that the one that cases see is not busy with them.
pub struct Proc {
    mounts: File,
    /// A kernel without modules has no such file.
    modules: Option<File>,
    taint: File,
}

impl Proc {
    pub fn open() -> Result<Self> {
        mount(Some("proc"), PROGRAMS, Some("proc"), MsFlags::MS_NOSUID, None::<&str>)
            .with_context(|| format!("cannot mount a /proc on {PROGRAMS}"))?;
        let files = Self::open_at(Path::new(PROGRAMS));
        umount2(PROGRAMS, MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {PROGRAMS}"))?;
        files
    }

    fn open_at(proc: &Path) -> Result<Self> {
        let open = |name| {
            let path = proc.join(name);
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))
        };
        let modules = match File::open(proc.join("modules")) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            file => Some(file.context("cannot open /proc/modules")?),
        };
        Ok(Self { mounts: open("self/mounts")?, modules, taint: open("sys/kernel/tainted")? })
    }

    /// Returns true if anything was mounted or unmounted since this was asked last (proc(5)).
    pub fn mounts_changed(&self) -> bool {
        self.changed([]).0
    }

    /// The same, and which of these are readable, in one call.
    pub fn changed<const N: usize>(&self, others: [BorrowedFd<'_>; N]) -> (bool, [bool; N]) {
        let mut fds = vec![PollFd::new(self.mounts.as_fd(), PollFlags::POLLPRI)];
        fds.extend(others.map(|other| PollFd::new(other, PollFlags::POLLIN)));
        let _ = poll(&mut fds, PollTimeout::ZERO);
        let has = |fd: &PollFd<'_>, what| fd.revents().is_some_and(|events| events.contains(what));
        let readable = std::array::from_fn(|index| has(&fds[index + 1], PollFlags::POLLIN));
        (has(&fds[0], PollFlags::POLLERR), readable)
    }

    /// The places where something is mounted.
    pub fn mounts(&self) -> Result<Vec<String>> {
        let text = read(&self.mounts).context("cannot read the mounts")?;
        let place = |line: &str| line.split(' ').nth(1).map(unescape);
        Ok(text.lines().filter_map(place).collect())
    }

    /// The modules that are loaded.
    pub fn modules(&self) -> Result<BTreeSet<String>> {
        let Some(file) = &self.modules else { return Ok(BTreeSet::new()) };
        let text = read(file).context("cannot read the modules")?;
        Ok(text.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect())
    }

    /// The kernel's taint flags (tainted-kernels.rst).
    pub fn taint(&self) -> Result<u64> {
        let mut bytes = [0; 32];
        let count = self.taint.read_at(&mut bytes, 0).context("cannot read the taint flags")?;
        let text = String::from_utf8_lossy(&bytes[..count]);
        text.trim().parse().with_context(|| format!("the taint flags are `{text}`"))
    }
}

/// Reads a file from its beginning: one call more than it has pieces.
fn read(file: &File) -> io::Result<String> {
    let mut bytes = vec![0; 4096];
    let mut filled = 0;
    loop {
        if filled == bytes.len() {
            bytes.resize(2 * filled, 0);
        }
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Undoes the octal escapes of /proc/self/mounts (proc(5)): `\\040` is a space.
fn unescape(place: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(place.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}
