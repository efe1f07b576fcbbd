//! Every path that is ours has its one home here; nobody else joins strings into paths.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::defaults;

/// Where things lie: the checkout, what belongs to it alone, and what checkouts share.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    target: PathBuf,
    cache: PathBuf,
}

impl Layout {
    /// Lays out a workspace at `root` whose cargo target directory is `target`.
    ///
    /// The shared cache is `$UML_CACHE_DIR`, else `$XDG_CACHE_HOME/cargo-xtask-uml`, else
    /// `~/.cache/cargo-xtask-uml` (XDG Base Directory Specification: a relative value is ignored).
    ///
    /// # Errors
    /// When no variable names a cache, or `UML_CACHE_DIR` is not absolute.
    pub fn new(root: PathBuf, target: PathBuf) -> Result<Self> {
        Ok(Self {
            root,
            target: target.join("uml"),
            cache: cache_dir(|name| std::env::var_os(name).map(PathBuf::from))?,
        })
    }

    /// All of it in one folder.
    #[cfg(test)]
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self { root: dir.into(), target: dir.join("target/uml"), cache: dir.join("cache") }
    }

    /// The workspace's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The Kconfig fragment called `name`, the workspace's own or the engine's.
    pub fn fragment(&self, name: &str) -> PathBuf {
        self.own_or_default(&format!("kconfig/{name}.config"))
    }

    /// The folder of the patch series called `name`, the workspace's own or the engine's.
    pub fn patches(&self, name: &str) -> PathBuf {
        self.own_or_default(&format!("kernel-patches/{name}"))
    }

    /// The folders of files laid over the bootstrapped root file system, each over those before it; they mirror
    /// the guest's `/`.
    pub fn overlays(&self) -> Vec<PathBuf> {
        defaults::layers(&self.root, "rootfs-overlay/files")
    }

    /// The files with the nodes, owners, modes and users that a checkout cannot hold as files, each over those
    /// before it.
    pub fn manifests(&self) -> Vec<PathBuf> {
        defaults::layers(&self.root, "rootfs-overlay/manifest.toml")
    }

    /// What is called so in the workspace, or else in the engine; in the workspace if it is nowhere.
    fn own_or_default(&self, name: &str) -> PathBuf {
        defaults::layers(&self.root, name).pop().unwrap_or_else(|| self.root.join(name))
    }

    /// The lock file with the resolved versions and hashes.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("uml.lock")
    }

    /// The content-addressed store that checkouts share.
    pub fn store(&self) -> PathBuf {
        self.cache.join("store")
    }

    /// Private state of apt for one suite: lists, caches, configuration.
    pub fn apt(&self, suite: &str) -> PathBuf {
        self.all_apt().join(suite)
    }

    /// The source tree and the objects of one kernel of this checkout.
    pub fn kernel_work(&self, name: &str) -> PathBuf {
        self.target.join("kernels").join(name)
    }

    /// What modules are built with for one kernel of this checkout, and their objects.
    pub fn module_work(&self, kernel: &str) -> PathBuf {
        self.target.join("modules").join(kernel)
    }

    /// The cargo target directory for what runs inside guests.
    pub fn guest_target(&self) -> PathBuf {
        self.target.join("guest-target")
    }

    /// What test binaries said of themselves.
    pub fn lists(&self) -> PathBuf {
        self.guest_target().join("lists.json")
    }

    /// The clone that a search through the history of a kernel's tree looks at.
    pub fn bisect(&self) -> PathBuf {
        self.target.join("bisect")
    }

    /// All run folders.
    pub fn runs(&self) -> PathBuf {
        self.target.join("runs")
    }

    /// The folders of the guests that persons have, each while its guest runs.
    pub fn guests(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// The lock that whoever uses the folders below holds shared, and who removes them exclusively.
    pub fn checkout_lock(&self) -> PathBuf {
        self.target.join("lock")
    }

    /// What belongs to this checkout alone and can be built again. Runs that are going on keep their
    /// folders: those are pruned by the runs themselves.
    pub fn checkout_dirs(&self) -> Vec<PathBuf> {
        vec![self.target.join("kernels"), self.target.join("modules"), self.guest_target()]
    }

    /// The folders that this checkout and the shared cache are written to, below what the store
    /// looks after itself.
    pub fn written_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.target.clone(), self.runs(), self.all_apt(), self.facts()];
        dirs.extend(self.checkout_dirs());
        dirs
    }

    /// Private state of apt for all suites.
    pub fn all_apt(&self) -> PathBuf {
        self.cache.join("apt")
    }

    /// The note that a source could not be reached.
    pub fn unreachable(&self, source: &str) -> PathBuf {
        self.facts().join(format!("unreachable-{source}"))
    }

    /// What is measured once and kept: delay calibration, reachability of sources.
    pub fn facts(&self) -> PathBuf {
        self.cache.join("facts")
    }
}

fn cache_dir(var: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    if let Some(dir) = var("UML_CACHE_DIR").filter(|dir| !dir.as_os_str().is_empty()) {
        if dir.is_relative() {
            bail!("UML_CACHE_DIR is {}, which is not an absolute path", dir.display());
        }
        return Ok(dir);
    }
    let base = var("XDG_CACHE_HOME")
        .filter(|dir| dir.is_absolute())
        .or_else(|| var("HOME").filter(|dir| dir.is_absolute()).map(|home| home.join(".cache")))
        .context("no home for the cache: set UML_CACHE_DIR, XDG_CACHE_HOME or HOME")?;
    Ok(base.join("cargo-xtask-uml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(vars: &[(&str, &str)]) -> Result<PathBuf> {
        cache_dir(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
        })
    }

    #[test]
    fn cache_follows_the_xdg_rules() {
        let home = ("HOME", "/home/u");
        assert_eq!(with(&[home]).unwrap(), Path::new("/home/u/.cache/cargo-xtask-uml"));
        assert_eq!(
            with(&[home, ("XDG_CACHE_HOME", "/c")]).unwrap(),
            Path::new("/c/cargo-xtask-uml")
        );
        assert_eq!(
            with(&[home, ("XDG_CACHE_HOME", "relative")]).unwrap(),
            Path::new("/home/u/.cache/cargo-xtask-uml")
        );
        assert_eq!(with(&[home, ("UML_CACHE_DIR", "/x")]).unwrap(), Path::new("/x"));
    }

    #[test]
    fn a_relative_or_missing_cache_is_refused() {
        assert!(with(&[("UML_CACHE_DIR", "x")]).unwrap_err().to_string().contains("UML_CACHE_DIR"));
        assert!(with(&[]).unwrap_err().to_string().contains("HOME"));
    }
}
