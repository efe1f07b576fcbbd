//! Files of the host at other places.

use std::ops::BitOr;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};

/// Mounts a file or a folder elsewhere too.
pub(crate) fn bind(from: &Path, to: &Path) -> Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(from), to, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("cannot mount {} on {}", from.display(), to.display()))
}

/// Shows a file that nobody on the stage may change.
pub(crate) fn show(file: &Path, place: &Path) -> Result<()> {
    bind(file, place)?;
    let has =
        statvfs(place).with_context(|| format!("cannot look at {}", place.display()))?.flags();
    // A user namespace may add to the flags of a mount and take nothing away
    // (mount_namespaces(7)).
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let kept = kept.iter().filter(|(flag, _)| has.contains(*flag)).map(|(_, flag)| *flag);
    let flags =
        kept.fold(MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, BitOr::bitor);
    mount(None::<&str>, place, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("cannot make {} read-only", place.display()))
}
