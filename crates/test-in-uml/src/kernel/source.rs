//! A kernel's source, for what is built beside the kernel itself.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::build::locked_source;
use super::patches::Series;
use super::tree;
use super::work::{Work, ensure_buildable};
use crate::config::Kernel;
use crate::ctx::Ctx;
use crate::fetch::{self, SourceArchive};
use crate::source_folder::SourceFolder;

/// Where a kernel's source is.
#[derive(Debug)]
pub struct KernelSource<'a> {
    name: &'a str,
    kernel: &'a Kernel,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Where the configuration says.
    Configured,
    /// In an archive of the user's own.
    Archive(SourceArchive),
    /// In a tree of the user's own.
    Tree(PathBuf),
}

impl<'a> KernelSource<'a> {
    /// That of the configuration.
    pub fn configured(ctx: &Ctx, name: &'a str, kernel: &'a Kernel) -> Self {
        let place = kernel.tree_of(&ctx.layout).map_or(Place::Configured, Place::Tree);
        Self { name, kernel, place }
    }

    /// An archive of the user's own.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn archive(name: &'a str, kernel: &'a Kernel, path: &Path) -> Result<Self> {
        Ok(Self { name, kernel, place: Place::Archive(fetch::local(path)?) })
    }

    /// A tree of the user's own.
    pub fn tree(name: &'a str, kernel: &'a Kernel, path: &Path) -> Self {
        Self { name, kernel, place: Place::Tree(path.into()) }
    }

    /// The kernel's name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// What these folders of it are known by: of an archive its hash and those of the patches, of a tree theirs.
    ///
    /// # Errors
    /// When the source cannot be had.
    pub fn identity(&self, ctx: &Ctx, folders: &[&str]) -> Result<Vec<String>> {
        let mut identity = match &self.place {
            Place::Tree(tree) => {
                let there = folders.iter().map(|folder| tree.join(folder));
                let there = there.filter(|folder| folder.is_dir());
                return there.map(|folder| SourceFolder(&folder).hash()).collect();
            }
            Place::Archive(archive) => vec![archive.sha256.clone()],
            Place::Configured => match locked_source(ctx, self.name, self.kernel)? {
                Some(hashes) => hashes,
                None => vec![fetch::source(ctx, self.name, self.kernel)?.sha256],
            },
        };
        identity.extend(Series::read(ctx, &self.kernel.patches)?.hashes());
        Ok(identity)
    }

    /// Has `work` look at the tree, which is unpacked and patched if it is not there. Nothing is to be written into it.
    ///
    /// # Errors
    /// When the source cannot be had, and those of `work`.
    pub fn with_tree<T>(&self, ctx: &Ctx, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let archive = match &self.place {
            Place::Tree(tree) => {
                let tree = tree
                    .canonicalize()
                    .with_context(|| format!("no tree at {}", tree.display()))?;
                ensure_buildable(&tree)?;
                return work(&tree);
            }
            Place::Archive(archive) => archive,
            Place::Configured => &fetch::source(ctx, self.name, self.kernel)?,
        };
        let folder = Work::open(ctx, self.name)?;
        let series = Series::read(ctx, &self.kernel.patches)?;
        let tree = tree::prepare(ctx, self.name, &folder, archive, &series)?;
        work(tree.dir())
    }
}
