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

/// Configures the build folder of `work`.
///
/// # Errors
/// When the tree does not have a symbol that is asked for, or a line did not take.
pub fn configure(
    make: &Make<'_>,
    tree: &KernelTree,
    work: &Work,
    start: Start,
    request: &ConfigRequest,
) -> Result<KernelConfig> {
    let kconfig = Kconfig::read(tree.dir(), tree.era().kconfig)?;
    verify::symbols(request, &kconfig)?;
    let path = work.build().join(".config");
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
