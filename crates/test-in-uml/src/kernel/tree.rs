//! The kernel tree: a source archive, unpacked and patched.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::era::{Era, Version};
use super::patches::Series;
use super::work::Work;
use crate::archive::{self, TopDir};
use crate::cancel::CancelToken;
use crate::ctx::Ctx;
use crate::fetch::SourceArchive;
use crate::removal::remove_folder;
use crate::space::ensure_room;
use crate::step::Step;

/// A kernel's source, ready to be configured. Nothing is ever built inside of it.
#[derive(Debug)]
pub struct KernelTree {
    dir: PathBuf,
    version: Version,
    era: &'static Era,
}

/// A source archive, unpacked; the patches are not in.
struct UnpackedTree(PathBuf);

impl UnpackedTree {
    fn of(cancel: &CancelToken, archive: &SourceArchive, dir: PathBuf) -> Result<Self> {
        archive::unpack(cancel, &archive.path, &dir, TopDir::Strip)?;
        Ok(Self(dir))
    }

    fn patch(self, step: &Step<'_>, series: &Series) -> Result<PatchedTree> {
        series.apply(step, &self.0)?;
        Ok(PatchedTree(self.0))
    }
}

/// The same with its patches, not where builds look for it yet.
struct PatchedTree(PathBuf);

impl PatchedTree {
    fn move_to(self, place: PathBuf) -> Result<KernelTree> {
        fs::rename(&self.0, &place)
            .with_context(|| format!("cannot move the tree to {}", place.display()))?;
        KernelTree::at(place)
    }
}

/// What a tree in a work folder was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeOrigin {
    archive: String,
    patches: Vec<String>,
}

impl TreeOrigin {
    /// The origin of a tree that is unpacked from `archive` and patched by `series`.
    pub fn new(archive: &SourceArchive, series: &Series) -> Self {
        Self { archive: archive.sha256.clone(), patches: series.hashes() }
    }
}

impl KernelTree {
    /// Takes a folder for a kernel tree.
    ///
    /// # Errors
    /// When it is none, or older than all that can be built here.
    pub(super) fn at(dir: PathBuf) -> Result<Self> {
        let path = dir.join("Makefile");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{} is not a kernel tree", dir.display()))?;
        let version = Version::of_makefile(&text).with_context(|| path.display().to_string())?;
        let era = version.era()?;
        Ok(Self { dir, version, era })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its era.
    pub fn era(&self) -> &'static Era {
        self.era
    }
}

/// The tree of the kernel `name`: that of an earlier run if it has the same origin, else a new one.
///
/// # Errors
/// When the archive cannot be unpacked, or a patch does not fit.
pub fn prepare(
    ctx: &Ctx,
    name: &str,
    work: &Work,
    archive: &SourceArchive,
    series: &Series,
) -> Result<KernelTree> {
    let origin = TreeOrigin::new(archive, series);
    let stamp = work.source_stamp();
    if stamp.says(&origin)
        && let Ok(tree) = KernelTree::at(work.source())
    {
        return Ok(tree);
    }
    let step = Step::begin(ctx, &format!("unpack {name}"))?;
    stamp.remove()?;
    let partial = work.partial_source();
    remove_folder(&partial)?;
    remove_folder(&work.source())?;
    ensure_room(&partial, room(&archive.path)?, &format!("the source of kernel {name}"))?;
    step.note(&format!("unpacking {} to {}", archive.path.display(), partial.display()))?;
    let tree = UnpackedTree::of(&ctx.cancel, archive, partial)?
        .patch(&step, series)?
        .move_to(work.source())?;
    stamp.write(&origin)?;
    step.done(&format!("Linux {}, {series}", tree.version));
    Ok(tree)
}

/// The number of bytes a kernel's archive takes when it is unpacked, at least: sources have become more
/// and comments longer, so that 3.0 takes six times what its xz has, and 6.12 eleven times.
fn room(archive: &Path) -> Result<u64> {
    let meta = fs::metadata(archive);
    let size = meta.with_context(|| format!("cannot look at {}", archive.display()))?.len();
    let factor = match archive.extension().and_then(|end| end.to_str()) {
        Some("xz") => 6,
        Some("bz2") => 5,
        Some("gz" | "tgz") => 4,
        _ => 1,
    };
    Ok(size * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_kernels_makefile_is_no_tree() {
        let dir = tempfile::tempdir().unwrap();
        let error = KernelTree::at(dir.path().into()).unwrap_err().to_string();
        assert!(error.contains("not a kernel tree"), "{error}");
        fs::write(dir.path().join("Makefile"), "VERSION = 2\nPATCHLEVEL = 6\n").unwrap();
        let error = KernelTree::at(dir.path().into()).unwrap_err().to_string();
        assert!(error.contains("2.6"), "{error}");
        fs::write(dir.path().join("Makefile"), "VERSION = 6\nPATCHLEVEL = 1\n").unwrap();
        assert_eq!(KernelTree::at(dir.path().into()).unwrap().version().to_string(), "6.1");
    }
}
