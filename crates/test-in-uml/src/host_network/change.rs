//! One change of the host: how it is made, and how it is undone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::ip;
use super::line::Line;
use super::takeover::Takeover;

/// A change. Making it twice, or undoing it twice or where it was never made, does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Change {
    /// A kernel module is loaded.
    Module { name: String },
    /// A file has another mode.
    Mode { path: String, old: u32, new: u32 },
    /// An interface is made.
    Link { name: String, make: Line },
    /// Something of an interface that we made, and goes with it.
    OfLink { make: Line },
    /// A setting of the kernel, by its file below `/proc/sys`, has another value.
    Setting { key: String, old: String, new: String },
    /// Something is there by a command, and goes by another: a rule of the packet filter, or a server.
    Command { make: Line, is_made: Line, undo: Line },
    /// An interface of the host becomes a port of ours.
    Takeover(Takeover),
}

impl Change {
    /// A setting has this value from now on; nothing where the kernel has no such.
    pub fn setting(key: &str, new: &str) -> Option<Self> {
        let old = read_setting(key)?;
        Some(Self::Setting { key: key.into(), old, new: new.into() })
    }

    /// The commands that make it.
    pub fn make(&self) -> Vec<Line> {
        match self {
            Change::Module { name } => vec![Line::new("modprobe").args([name])],
            Change::Mode { path, new, .. } => vec![chmod(path, *new)],
            Change::Link { make, .. } | Change::OfLink { make } | Change::Command { make, .. } => {
                vec![make.clone()]
            }
            Change::Setting { key, old, new } if old != new => vec![write_setting(key, new)],
            Change::Setting { .. } => Vec::new(),
            Change::Takeover(takeover) => takeover.make(),
        }
    }

    /// Checks that what was made works.
    pub fn check(&self) -> Result<()> {
        match self {
            Change::Takeover(takeover) => takeover.check(),
            _ => Ok(()),
        }
    }

    /// The commands that undo it, as far as it was made. What others have changed since is left as it is.
    pub fn undo(&self) -> Result<Vec<Line>> {
        Ok(match self {
            Change::Module { name } => {
                let unload = Line::new("modprobe -r").args([name]);
                let is_loaded = Path::new("/sys/module").join(name).exists();
                is_loaded.then_some(unload).into_iter().collect()
            }
            Change::Mode { path, old, new } => {
                let is_ours = mode_of(path) == Some(*new) && old != new;
                is_ours.then(|| chmod(path, *old)).into_iter().collect()
            }
            Change::Link { name, .. } => {
                let delete = Line::new("ip link delete dev").args([name]);
                ip::exists(name).then_some(delete).into_iter().collect()
            }
            Change::OfLink { .. } => Vec::new(),
            Change::Setting { key, old, new } => {
                let is_ours = read_setting(key).as_deref() == Some(new) && old != new;
                is_ours.then(|| write_setting(key, old)).into_iter().collect()
            }
            Change::Command { is_made, undo, .. } => {
                is_made.succeeds().then(|| undo.clone()).into_iter().collect()
            }
            Change::Takeover(takeover) => takeover.undo()?,
        })
    }

    /// The change that another network is to have instead of its own once ours is undone, if both are of the same thing:
    /// what was there before ours was there before theirs too.
    pub fn handed_over(&self, theirs: &Self) -> Option<Self> {
        let mut new = theirs.clone();
        match (self, &mut new) {
            (Change::Setting { key, old, new }, Change::Setting { key: same, old: theirs, .. })
                if key == same =>
            {
                // Who found it so has nothing to hand over.
                if old != new {
                    theirs.clone_from(old);
                }
            }
            (Change::Mode { path, old, new }, Change::Mode { path: same, old: theirs, .. })
                if path == same =>
            {
                if old != new {
                    *theirs = *old;
                }
            }
            _ => return None,
        }
        Some(new)
    }
}

/// The mode of a file, if there is one.
pub(super) fn mode_of(path: &str) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o7777)
}

fn chmod(path: &str, mode: u32) -> Line {
    Line::new("chmod").args([&format!("{mode:04o}"), path])
}

fn read_setting(key: &str) -> Option<String> {
    Some(fs::read_to_string(Path::new("/proc/sys").join(key)).ok()?.trim().to_owned())
}

/// As sysctl(8) does it, which not every host has.
pub(super) fn write_setting(key: &str, value: &str) -> Line {
    Line::new("tee").args([&format!("/proc/sys/{key}")]).input(value.into())
}
