//! The configuration: a start, the fragments laid upon it, and the proof that every line took.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::fragment::{ConfigRequest, Values};
use super::kconfig::Kconfig;
use super::make::{Make, assignment};
use super::tree::KernelTree;
use super::verify::{self, VerifiedValues};
use super::work::Work;
use crate::config::Start;

/// The configuration of a build folder, which is what was asked for.
#[derive(Debug)]
pub struct KernelConfig {
    path: PathBuf,
    values: VerifiedValues,
}

impl KernelConfig {
    /// The `.config`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What make is called with.
    pub(super) fn verified(&self) -> &VerifiedValues {
        &self.values
    }

    /// What is in it.
    pub fn values(&self) -> &Values {
        self.values.get()
    }
}

/// What a configuration is made from.
#[derive(Debug)]
pub struct ConfiguredFrom<'a> {
    /// The files of the tree that matter to it; nothing if they are not known.
    tree: Option<u64>,
    start: Start,
    request: &'a ConfigRequest,
}

impl<'a> ConfiguredFrom<'a> {
    /// From a tree that is known by this number, if it is, and from what is asked for.
    pub fn new(tree: Option<u64>, start: Start, request: &'a ConfigRequest) -> Self {
        Self { tree, start, request }
    }

    /// What the stamp says beside the configuration that this led to.
    fn stamped(&self, config: &str) -> Option<(u64, Start, String, String)> {
        Some((self.tree?, self.start, self.request.to_string(), config.to_owned()))
    }

    /// Has the next run know that the build folder, which make is done with, is configured by this.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn remember(&self, work: &Work) -> Result<()> {
        match self.stamped(&read(&work.build().join(CONFIG))?) {
            Some(stamped) => work.configured_stamp().write(&stamped),
            None => work.configured_stamp().remove(),
        }
    }

    /// The configuration of an earlier run, if this would lead to it again.
    fn known(&self, work: &Work) -> Option<KernelConfig> {
        let path = work.build().join(CONFIG);
        let text = read(&path).ok()?;
        let stamped = self.stamped(&text)?;
        let values = Values::parse(&text).ok()?;
        let is_known = work.configured_stamp().says(&stamped);
        is_known.then(|| KernelConfig { path, values: VerifiedValues::as_before(values) })
    }
}

/// The file of a configuration, in a build folder.
const CONFIG: &str = ".config";

/// Configures the build folder of `work`, unless it is.
///
/// # Errors
/// When the tree does not have a symbol that is asked for, or a line did not take.
pub fn configure(
    make: &Make<'_>,
    tree: &KernelTree,
    work: &Work,
    from: &ConfiguredFrom<'_>,
) -> Result<KernelConfig> {
    if let Some(known) = from.known(work) {
        return Ok(known);
    }
    let &ConfiguredFrom { start, request, .. } = from;
    let kconfig = Kconfig::read(tree.dir(), tree.era().kconfig)?;
    verify::symbols(request, &kconfig)?;
    let path = work.build().join(CONFIG);
    match start {
        Start::Allnoconfig => {
            // Kconfig takes the file for what the user had chosen before (kconfig.rst).
            let requested = work.requested();
            fs::write(&requested, request.to_string())
                .with_context(|| format!("cannot write {}", requested.display()))?;
            make.configure(start.target(), &[assignment("KCONFIG_ALLCONFIG", &requested)])?;
        }
        Start::Defconfig => {
            make.configure(start.target(), &[])?;
            // Of two lines about a symbol Kconfig takes the later.
            let text = read(&path)? + &request.to_string();
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            make.configure(tree.era().refresh, &[])?;
        }
    }
    let values = Values::parse(&read(&path)?).with_context(|| path.display().to_string())?;
    let values = verify::values(request, values, &kconfig)?;
    Ok(KernelConfig { path, values })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
