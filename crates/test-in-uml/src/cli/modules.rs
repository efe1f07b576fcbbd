//! Which out-of-tree modules a command is about.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::wrong_usage;
use crate::ctx::Ctx;

/// The folders of modules that the configuration names, and then these of the command line, each once.
pub(super) fn module_folders(ctx: &Ctx, named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let configured = ctx.config.modules.iter().map(|folder| {
        let folder = ctx.layout.root().join(folder);
        found(&folder, "modules of the configuration")
    });
    let named = named.iter().map(|folder| found(folder, "--module").map_err(wrong_usage));
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in configured.chain(named) {
        let folder = folder?;
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    Ok(folders)
}

fn found(folder: &Path, whose: &str) -> Result<PathBuf> {
    folder.canonicalize().with_context(|| format!("{whose}: {}", folder.display()))
}
