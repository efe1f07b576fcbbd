//! An entry of the tree, and its place.

use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail, ensure};

use crate::rootfs::bootstrap::EPOCH;

/// One entry of the tree.
#[derive(Debug, Clone)]
pub(in crate::rootfs) struct TreeNode {
    pub kind: NodeKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified: u64,
}

#[derive(Debug, Clone)]
pub(in crate::rootfs) enum NodeKind {
    Dir,
    /// A file whose contents are in the bootstrapped archive.
    Archived {
        offset: u64,
        size: u64,
    },
    File(Vec<u8>),
    Symlink(PathBuf),
    /// Another name of a file.
    Hard(PathBuf),
}

impl TreeNode {
    pub(super) fn of_root(kind: NodeKind, mode: u32) -> Self {
        Self { kind, mode, uid: 0, gid: 0, modified: EPOCH }
    }
}

/// A path of an archive as the guest sees it.
pub(super) fn place(path: &Path) -> Result<PathBuf> {
    let mut place = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => place.push(name),
            Component::CurDir | Component::RootDir => {}
            _ => bail!("{} climbs out of its archive", path.display()),
        }
    }
    let odd = |text: &str| text.contains(['"', '\n']);
    ensure!(
        place.to_str().is_some_and(|text| !odd(text)),
        "{}: the name of a file is UTF-8, without quotes and line feeds",
        place.display()
    );
    Ok(place)
}
