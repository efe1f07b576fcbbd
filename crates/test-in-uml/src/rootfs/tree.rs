//! The guest's tree, merged from archive, overlay and manifest before anything is written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::accounts::Accounts;
use super::bootstrap::EPOCH;
use super::manifest::Manifest;
use crate::store::hex;

mod node;
#[cfg(test)]
mod tests;

use node::place;
pub(super) use node::{NodeKind, TreeNode};

/// The tree: paths are absolute, as the guest sees them.
#[derive(Debug, Default)]
pub(super) struct RootfsTree {
    pub nodes: BTreeMap<PathBuf, TreeNode>,
}

/// What a bootstrap leaves that belongs to the moment, to the host, or to no guest.
const DROPPED: [&str; 7] = [
    "/dev",
    "/var/log",
    "/var/cache",
    "/var/lib/apt/lists",
    "/run",
    "/tmp",
    "/var/lib/dpkg/info/format-old",
];

impl RootfsTree {
    /// Reads the index of an archive.
    pub fn of_archive(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut archive = tar::Archive::new(file);
        let mut tree = Self::default();
        let entries = archive.entries_with_seek();
        for entry in entries.with_context(|| format!("cannot read {}", path.display()))? {
            let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
            let place = place(&entry.path().context("cannot read a path")?)?;
            let header = entry.header();
            let target = || -> Result<PathBuf> {
                Ok(entry.link_name()?.context("a link without a target")?.into_owned())
            };
            let kind = match header.entry_type() {
                tar::EntryType::Directory => NodeKind::Dir,
                tar::EntryType::Symlink => NodeKind::Symlink(target()?),
                tar::EntryType::Link => NodeKind::Hard(self::place(&target()?)?),
                tar::EntryType::Regular => {
                    NodeKind::Archived { offset: entry.raw_file_position(), size: entry.size() }
                }
                // The manifest declares the nodes that a guest has.
                tar::EntryType::Char | tar::EntryType::Block => continue,
                other => bail!("{}: a {other:?} has no place in an image", place.display()),
            };
            tree.nodes.insert(
                place,
                TreeNode {
                    kind,
                    mode: header.mode()? & 0o7777,
                    uid: header.uid()?.try_into()?,
                    gid: header.gid()?.try_into()?,
                    modified: header.mtime()?.min(EPOCH),
                },
            );
        }
        tree.nodes.remove(Path::new("/"));
        tree.nodes.retain(|path, _| {
            !DROPPED.iter().any(|dropped| path.starts_with(dropped) && path != Path::new(dropped))
                && !path.to_string_lossy().ends_with('-')
        });
        Ok(tree)
    }

    /// Lays a folder of the checkout over the tree: what it has replaces what was there.
    pub fn lay_over(&mut self, overlay: &Path) -> Result<()> {
        for entry in walkdir::WalkDir::new(overlay).min_depth(1).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot read {}", overlay.display()))?;
            let path = entry.path();
            let shown = path.display();
            let place = place(path.strip_prefix(overlay)?).with_context(|| shown.to_string())?;
            let is_dir = entry.file_type().is_dir();
            // Elsewhere an entry replaces what the suite has; here it would take away, or hide, what
            // is below.
            match self.nodes.get(&place).map(|node| &node.kind) {
                Some(NodeKind::Dir) if is_dir => continue,
                Some(NodeKind::Dir) => bail!("{shown} is no folder, but {} is", place.display()),
                Some(NodeKind::Symlink(to)) if is_dir => bail!(
                    "{shown} is a folder, but {} is a link: put its files where that leads, to {}",
                    place.display(),
                    to.display()
                ),
                Some(_) if is_dir => {
                    bail!("{shown} is a folder, but {} is a file", place.display())
                }
                _ => {}
            }
            let kind = if is_dir {
                NodeKind::Dir
            } else if entry.file_type().is_symlink() {
                NodeKind::Symlink(fs::read_link(path)?)
            } else if entry.file_type().is_file() {
                NodeKind::File(fs::read(path).with_context(|| format!("cannot read {shown}"))?)
            } else {
                bail!(
                    "{shown} is a device, a socket or a FIFO: the manifest declares device nodes, \
                     and nothing makes the others"
                );
            };
            // A checkout knows of a mode whether a file can be run; the rest is the user's umask.
            let runs = entry.metadata()?.permissions().mode() & 0o100 != 0;
            let mode = if matches!(kind, NodeKind::Dir) || runs { 0o755 } else { 0o644 };
            self.put(place, kind, mode);
        }
        Ok(())
    }

    /// Puts an entry of root's into the tree, and the folders above it.
    pub fn put(&mut self, place: PathBuf, kind: NodeKind, mode: u32) {
        let above: Vec<PathBuf> = place.ancestors().skip(1).map(Path::to_owned).collect();
        for dir in above.into_iter().filter(|dir| dir != Path::new("/")) {
            self.nodes.entry(dir).or_insert(TreeNode::of_root(NodeKind::Dir, 0o755));
        }
        self.nodes.insert(place, TreeNode::of_root(kind, mode));
    }

    /// The text of a file of the archive or the overlay.
    pub fn text(&self, archive: &mut File, place: &str) -> Result<String> {
        let node = self.nodes.get(Path::new(place)).with_context(|| format!("no {place}"))?;
        let bytes = match &node.kind {
            NodeKind::File(bytes) => bytes.clone(),
            NodeKind::Archived { offset, size } => read_at(archive, *offset, *size)?,
            _ => bail!("{place} is not a file"),
        };
        String::from_utf8(bytes).with_context(|| format!("{place} is not text"))
    }

    /// Applies the manifest: users, owners, modes, and the list of nodes for after devtmpfs.
    pub fn apply(&mut self, manifest: &Manifest, archive: &mut File) -> Result<Accounts> {
        let mut accounts = Accounts {
            passwd: self.text(archive, "/etc/passwd")?,
            shadow: self.text(archive, "/etc/shadow")?,
            group: self.text(archive, "/etc/group")?,
        };
        accounts.apply(&manifest.users)?;
        self.replace("/etc/passwd", &accounts.passwd)?;
        self.replace("/etc/shadow", &accounts.shadow)?;
        self.replace("/etc/group", &accounts.group)?;
        for (name, user) in manifest.users.iter().filter_map(|(n, u)| Some((n, u.uid?))) {
            let home = Path::new("/home").join(name);
            self.put(home.clone(), NodeKind::Dir, 0o755);
            self.own(&home, Some(user), Some(user));
        }
        for (path, wanted) in &manifest.files {
            let uid = wanted.owner.as_deref().map(|name| owner(&accounts, name)).transpose()?;
            let gid = wanted.group.as_deref().map(|name| group(&accounts, name)).transpose()?;
            let node = self.nodes.get_mut(Path::new(path));
            let node =
                node.with_context(|| format!("the manifest's files: no {path} in the image"))?;
            node.mode = wanted.mode.unwrap_or(node.mode);
            self.own(Path::new(path), uid, gid);
        }
        let mut lines = String::new();
        for node in &manifest.nodes {
            self.check_place(Path::new(&node.path))?;
            let uid = owner(&accounts, &node.owner)?;
            let gid = group(&accounts, &node.group)?;
            let (kind, major, minor) = (node.kind.letter(), node.major, node.minor);
            let mode = node.mode;
            lines += &format!("{} {kind} {major} {minor} {uid} {gid} {mode:04o}\n", node.path);
        }
        self.put("/etc/uml/nodes".into(), NodeKind::File(lines.into_bytes()), 0o644);
        Ok(accounts)
    }

    /// A node has a folder to be in, and takes nobody's place.
    fn check_place(&self, node: &Path) -> Result<()> {
        let dir = node.parent().filter(|dir| *dir != Path::new("/"));
        let has_dir =
            |dir| matches!(self.nodes.get(dir), Some(TreeNode { kind: NodeKind::Dir, .. }));
        ensure!(
            dir.is_none_or(has_dir),
            "the manifest's nodes: {} is in no folder of the image",
            node.display()
        );
        ensure!(
            !self.nodes.contains_key(node),
            "the manifest's nodes: {} is in the image already",
            node.display()
        );
        Ok(())
    }

    fn replace(&mut self, place: &str, text: &str) -> Result<()> {
        let node = self.nodes.get_mut(Path::new(place)).with_context(|| format!("no {place}"))?;
        node.kind = NodeKind::File(text.as_bytes().to_vec());
        node.modified = EPOCH;
        Ok(())
    }

    fn own(&mut self, place: &Path, uid: Option<u32>, gid: Option<u32>) {
        if let Some(node) = self.nodes.get_mut(place) {
            node.uid = uid.unwrap_or(node.uid);
            node.gid = gid.unwrap_or(node.gid);
        }
    }

    /// Writes the tree as an archive, sorted; hard links come last, when their files are there.
    pub fn write(&self, archive: &mut File, to: impl Write) -> Result<()> {
        let mut builder = tar::Builder::new(to);
        let hard = |node: &TreeNode| matches!(node.kind, NodeKind::Hard(_));
        let first = self.nodes.iter().filter(|(_, node)| !hard(node));
        for (place, node) in first.chain(self.nodes.iter().filter(|(_, node)| hard(node))) {
            let name = place.strip_prefix("/")?;
            let mut header = tar::Header::new_gnu();
            header.set_mode(node.mode);
            header.set_mtime(node.modified);
            let (kind, contents) = match &node.kind {
                NodeKind::Dir => (tar::EntryType::Directory, Vec::new()),
                NodeKind::File(bytes) => (tar::EntryType::Regular, bytes.clone()),
                NodeKind::Archived { offset, size } => {
                    (tar::EntryType::Regular, read_at(archive, *offset, *size)?)
                }
                NodeKind::Symlink(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    builder.append_link(&mut header, name, target)?;
                    continue;
                }
                NodeKind::Hard(target) => {
                    header.set_entry_type(tar::EntryType::Link);
                    header.set_size(0);
                    builder.append_link(&mut header, name, target.strip_prefix("/")?)?;
                    continue;
                }
            };
            header.set_entry_type(kind);
            header.set_size(contents.len() as u64);
            builder.append_data(&mut header, name, contents.as_slice())?;
        }
        builder.into_inner().context("cannot end an archive")?.flush()?;
        Ok(())
    }
}

pub(super) fn owner(accounts: &Accounts, name: &str) -> Result<u32> {
    accounts.id(name).with_context(|| format!("the manifest: no user `{name}` in the image"))
}

pub(super) fn group(accounts: &Accounts, name: &str) -> Result<u32> {
    accounts.group_id(name).with_context(|| format!("the manifest: no group `{name}` in the image"))
}

fn read_at(archive: &mut File, offset: u64, size: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; size.try_into()?];
    archive
        .seek(SeekFrom::Start(offset))
        .and_then(|_| archive.read_exact(&mut bytes))
        .context("cannot read the bootstrapped archive")?;
    Ok(bytes)
}

/// A hash of everything that an overlay puts into an image.
pub(super) fn overlay_hash(overlay: &Path) -> Result<String> {
    let mut tree = RootfsTree::default();
    tree.lay_over(overlay)?;
    let mut hasher = Sha256::new();
    for (place, node) in &tree.nodes {
        hasher.update(format!("{}\0{:o}\0", place.display(), node.mode));
        match &node.kind {
            NodeKind::File(bytes) => hasher.update(Sha256::digest(bytes)),
            NodeKind::Symlink(target) => hasher.update(target.as_os_str().as_bytes()),
            _ => hasher.update(b"/"),
        }
    }
    Ok(hex(&hasher.finalize()))
}
