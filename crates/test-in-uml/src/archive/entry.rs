//! What an entry may be called, and where a link may lead.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// The plain path of an entry: no root, no `..`, no `.`; empty for the archive's own root.
pub(super) fn plain(path: &Path) -> Result<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir => bail!("its path climbs with `..`"),
            Component::RootDir | Component::Prefix(_) => bail!("its path is absolute"),
        }
    }
    Ok(plain)
}

/// Checks that a symbolic link at `link` (a plain path) leads to somewhere inside.
///
/// `..` may stand at the beginning only: the folder of the link is a real one, so that climbing
/// from it is exact. Further in, a name could itself be a link, and `..` after it lead anywhere.
pub(super) fn check_symlink(link: &Path, target: &Path) -> Result<()> {
    let depth = link.components().count().saturating_sub(1);
    let mut climbed = 0;
    let mut descended = false;
    ensure!(!target.as_os_str().is_empty(), "it is a link to nothing");
    for component in target.components() {
        match component {
            Component::Normal(_) => descended = true,
            Component::CurDir => {}
            Component::ParentDir if descended => {
                bail!("it is a link to {}, with `..` after a name", target.display())
            }
            Component::ParentDir => climbed += 1,
            Component::RootDir | Component::Prefix(_) => {
                bail!("it is a link to {}, an absolute path", target.display())
            }
        }
    }
    ensure!(climbed <= depth, "it is a link to {}, outside of the archive", target.display());
    Ok(())
}

/// Takes the one folder at the top off the paths of an archive.
#[derive(Debug, Default)]
pub(super) struct Stripped {
    top: Option<PathBuf>,
}

impl Stripped {
    /// `path` (a plain one) without its first folder, which must be the same for all.
    pub fn strip(&mut self, path: &Path) -> Result<PathBuf> {
        let mut components = path.components();
        let first = components.next().context("it has no name")?;
        let first = Path::new(first.as_os_str());
        let top = self.top.get_or_insert_with(|| first.to_owned());
        ensure!(*top == first, "it is not in `{}`, as the entries before it are", top.display());
        Ok(components.as_path().to_owned())
    }
}
