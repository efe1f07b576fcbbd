//! Mounts, and a mount that goes when it is dropped.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// One line of /proc/self/mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// What is mounted.
    pub source: String,
    /// Where.
    pub place: PathBuf,
    /// The type of file system.
    pub kind: String,
    /// The options, separated by commas.
    pub options: String,
}

/// What is mounted, as this process sees it.
///
/// # Errors
/// When /proc/self/mounts cannot be read.
pub fn mounts() -> Result<Vec<MountEntry>> {
    let text = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    let entry = |line: &str| {
        let fields: Vec<String> = line.split(' ').map(unescape).collect();
        let [source, place, kind, options, ..] = fields.as_slice() else { return None };
        Some(MountEntry {
            source: source.clone(),
            place: place.into(),
            kind: kind.clone(),
            options: options.clone(),
        })
    };
    Ok(text.lines().filter_map(entry).collect())
}

/// proc(5) writes blanks and backslashes as octal escapes.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[3..]);
            }
            None => text.push_str(part),
        }
    }
    text
}

/// A mount of this test; dropping it unmounts.
#[derive(Debug)]
pub struct Mount {
    place: PathBuf,
}

impl Mount {
    /// Mounts `source` of type `kind` on `place`, which is made if it is not there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(source: &Path, place: &Path, kind: &str) -> Result<Self> {
        fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
        mount(Some(source), place, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount {} on {}", source.display(), place.display()))?;
        Ok(Self { place: place.to_owned() })
    }

    /// Where it is.
    pub fn place(&self) -> &Path {
        &self.place
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = umount2(&self.place, MntFlags::empty());
    }
}
