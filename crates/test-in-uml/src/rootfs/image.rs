//! The image: the tree as an ext4 file system, the same bytes wherever and by whom it is made.
//!
//! The tree is unpacked onto a tmpfs in a namespace of the step, in sorted order, and `mke2fs -d`
//! makes the file system. What an ordinary user cannot have on the host (owners, nodes) and what
//! mke2fs takes from the clock (times of the inodes) is then set in the file by debugfs(8), which
//! needs no privilege.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::Rootfs;
use super::accounts::Accounts;
use super::bootstrap::EPOCH;
use super::manifest::Manifest;
use super::tree::{self, NodeKind, RootfsTree};
use crate::ctx::Ctx;
use crate::isolation::{Cmd, Ids};
use crate::space::ensure_room;
use crate::step::Step;
use crate::store::{Entry, Key, Kind, sha256_of};

/// Where the agent is in the image.
pub const AGENT: &str = "/usr/sbin/uml-agent";

const FILE: &str = "root.ext4";

/// Features that Linux 3.0 cannot mount read-write are off.
const FEATURES: &str = "^metadata_csum,^64bit,^orphan_file";

/// Fixed, so that the same tree gives the same bytes.
const UUID: &str = "6f8b2f4e-5f3c-4e0e-9f0e-3a2b6f6a7c11";

/// What an image holds beside its tree, in bytes.
const JOURNAL: u64 = 64 << 20;

/// Raise this when the same inputs give another image.
const FORMAT: u32 = 1;

/// An ext4 image. It is never written to: guests run on a COW of it.
#[derive(Debug)]
pub struct Image {
    entry: Entry,
}

impl Image {
    /// One that no guest can boot from.
    #[cfg(test)]
    pub(crate) fn empty(store: &crate::store::Store) -> Self {
        let fill = |dir: &Path| Ok(fs::write(dir.join(FILE), "")?);
        Self {
            entry: store
                .get_or_build(&crate::cancel::CancelToken::default(), Kind::Image, &"empty", fill)
                .unwrap(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.entry.file(FILE)
    }

    /// The hash of what it was made from.
    pub fn key(&self) -> &Key {
        self.entry.key()
    }
}

#[derive(Serialize)]
struct ImageRecipe<'a> {
    format: u32,
    rootfs: &'a str,
    overlay: String,
    manifest: String,
    agent: String,
    size: u64,
    /// Where it was laid out: on a disk, entries have any order, and no two images are the same bytes.
    #[serde(skip_serializing_if = "Layout::is_reproducible")]
    laid_out: Layout,
}

/// Where the tree is unpacked that becomes the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Layout {
    /// On a tmpfs, the order of whose entries is that of their making.
    Memory,
    /// On the host's disk, where no tmpfs can be mounted.
    Disk,
}

impl Layout {
    fn is_reproducible(&self) -> bool {
        *self == Layout::Memory
    }
}

/// Builds the image, or takes the one that was built before from the same inputs.
///
/// # Errors
/// When an input cannot be read or does not fit, or mke2fs fails.
pub fn build(ctx: &Ctx, rootfs: &Rootfs, agent: &Path) -> Result<Image> {
    let overlays = ctx.layout.overlays();
    let manifests = ctx.layout.manifests();
    let each = |hash: &dyn Fn(&PathBuf) -> Result<String>, layers: &[PathBuf]| -> Result<String> {
        Ok(layers.iter().map(hash).collect::<Result<Vec<_>>>()?.join(" "))
    };
    let recipe = ImageRecipe {
        format: FORMAT,
        rootfs: rootfs.key().as_str(),
        overlay: each(&|layer| tree::overlay_hash(layer), &overlays)?,
        manifest: each(&|layer| sha256_of(layer), &manifests)?,
        agent: sha256_of(agent)?,
        size: ctx.config.rootfs.size.bytes(),
        laid_out: match ctx.isolation()?.has_tmpfs() {
            true => Layout::Memory,
            false => Layout::Disk,
        },
    };
    let entry = ctx.store.get_or_build(&ctx.cancel, Kind::Image, &recipe, |dir| {
        let manifest = Manifest::read_all(&manifests)?;
        // The tree is in it once as an archive, and once in the image, which is sparse.
        let size = fs::metadata(rootfs.archive()).map_or(0, |meta| meta.len());
        ensure_room(dir, 2 * size + JOURNAL, "the image and what it is made from")?;
        let step = Step::begin(ctx, "image")?;
        let mut archive =
            File::open(rootfs.archive()).context("cannot open the root file system")?;
        let mut tree = RootfsTree::of_archive(&rootfs.archive())?;
        overlays.iter().try_for_each(|overlay| tree.lay_over(overlay))?;
        overlays.iter().try_for_each(|overlay| tree.check_links(overlay))?;
        let accounts = tree.apply(&manifest, &mut archive)?;
        let program =
            fs::read(agent).with_context(|| format!("cannot read {}", agent.display()))?;
        tree.put(AGENT.into(), NodeKind::File(program), 0o755);
        assemble(&step, dir, &tree, &mut archive, &script(&tree, &manifest, &accounts)?, &recipe)?;
        step.done(&format!("{} entries", tree.nodes.len()));
        Ok(())
    })?;
    Ok(Image { entry })
}

/// Writes archive, script and image into `dir`, and leaves the image there.
fn assemble(
    step: &Step<'_>,
    dir: &Path,
    tree: &RootfsTree,
    archive: &mut File,
    script: &str,
    recipe: &ImageRecipe<'_>,
) -> Result<()> {
    let (image, merged, commands) = (dir.join(FILE), dir.join("tree.tar"), dir.join("debugfs"));
    tree.write(archive, BufWriter::new(File::create(&merged).context("cannot make an archive")?))?;
    fs::write(&commands, script).context("cannot write the commands for debugfs")?;
    File::create(&image)
        .and_then(|file| file.set_len(recipe.size))
        .context("cannot make the image's file")?;
    let unpacked = dir.join("tree");
    fs::create_dir(&unpacked).context("cannot make a folder")?;
    let mount = match recipe.laid_out {
        Layout::Memory => "mount -t tmpfs -o mode=0755 tree \"$1\" && ",
        Layout::Disk => "echo 'no tmpfs: the image is not reproducible'; ",
    };
    // The shell's commands share a mount namespace, in which the tree is unpacked: nothing of it
    // is on the host's disks.
    let make = format!(
        "{mount}tar -xp --no-same-owner -f \"$2\" -C \"$1\" && \
         mke2fs -q -F -t ext4 -m 0 -O {FEATURES} -U {UUID} \
         -E hash_seed={UUID},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0 \
         -d \"$1\" \"$3\""
    );
    let paths = [&unpacked, &merged, &image].map(|path| path.as_os_str());
    let cmd = Cmd::new("sh").ids(Ids::Root).args(["-c", &make, "sh"]).args(paths);
    step.run(&fixed_clock(cmd)).context("is there room for the tree in memory?")?;
    let cmd = Cmd::new("debugfs").args(["-w", "-f"]).arg(&commands).arg(&image);
    let mut complaint = None;
    step.run_watched(&fixed_clock(cmd), |line| {
        // debugfs echoes each command, and says on a line of its own what went wrong.
        let usual =
            line.is_empty() || ["debugfs", "Allocated inode"].iter().any(|w| line.starts_with(w));
        if !usual && complaint.is_none() {
            complaint = Some(line.to_owned());
        }
    })?;
    if let Some(complaint) = complaint {
        bail!("debugfs: {complaint}; see {}", step.log_path().display());
    }
    fs::remove_dir_all(&unpacked)
        .and_then(|()| fs::remove_file(&merged))
        .and_then(|()| fs::remove_file(&commands))
        .context("cannot remove what the image was made from")
}

fn fixed_clock(cmd: Cmd) -> Cmd {
    // Debian keeps these where an ordinary user's PATH does not reach.
    let path = std::env::var("PATH").unwrap_or_default();
    cmd.env("E2FSPROGS_FAKE_TIME", EPOCH.to_string())
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
}

/// Commands for debugfs: the nodes, and owner, group and times of every inode.
fn script(tree: &RootfsTree, manifest: &Manifest, accounts: &Accounts) -> Result<String> {
    let mut script = String::new();
    let mut set = |place: &str, field: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(script, "sif \"{place}\" {field} {value}");
    };
    let mut common = |place: &str, uid: u32, gid: u32, modified: u64| {
        set(place, "uid", uid.to_string());
        set(place, "gid", gid.to_string());
        set(place, "mtime", format!("@{modified}"));
        set(place, "atime", format!("@{EPOCH}"));
        set(place, "ctime", format!("@{EPOCH}"));
        set(place, "crtime", format!("@{EPOCH}"));
    };
    for place in ["/", "/lost+found"] {
        common(place, 0, 0, EPOCH);
    }
    for (place, node) in &tree.nodes {
        common(
            place.to_str().context("a name in the tree is not UTF-8")?,
            node.uid,
            node.gid,
            node.modified,
        );
    }
    let mut nodes = String::new();
    for node in &manifest.nodes {
        let place = Path::new(&node.path);
        let (dir, name) = (place.parent(), place.file_name());
        let (Some(dir), Some(name)) = (dir, name) else { bail!("{} is no node", node.path) };
        let (letter, major, minor) = (node.kind.letter(), node.major, node.minor);
        let kind = if letter == 'b' { 0o060_000 } else { 0o020_000 };
        writeln!(
            nodes,
            "cd {}\nmknod {} {letter} {major} {minor}\ncd /\nsif {} mode 0{:o}",
            dir.display(),
            name.to_string_lossy(),
            node.path,
            kind | node.mode
        )?;
        common(
            &node.path,
            tree::owner(accounts, &node.owner)?,
            tree::group(accounts, &node.group)?,
            EPOCH,
        );
    }
    // The nodes have to be there before their fields are set.
    Ok(nodes + &script)
}
