//! `cargo xtask init`: another repository gets what it needs.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::wrong_usage;
use crate::init::{Adoption, Engine, Workflow, init};
use crate::ui;

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The repository, or an empty folder, or one that is made
    path: PathBuf,
    /// A folder below it with a kernel module; one that is not there gets a module
    #[arg(long, value_name = "FOLDER")]
    module: Option<PathBuf>,
    /// Write a workflow too
    #[arg(long, value_name = "WHOSE")]
    ci: Option<Workflow>,
    /// Take the engine from this git repository [default: from where this one is]
    #[arg(long, value_name = "URL")]
    git: Option<String>,
}

impl InitArgs {
    pub fn run(&self) -> Result<()> {
        let shown = self.path.display();
        fs::create_dir_all(&self.path).with_context(|| format!("cannot make {shown}"))?;
        let root = self.path.canonicalize().with_context(|| format!("cannot find {shown}"))?;
        let engine = self.git.clone().map_or_else(Engine::own, Engine::Git);
        let wanted = Adoption { root, engine, module: self.module.clone(), workflow: self.ci };
        for written in init(&wanted).map_err(wrong_usage)? {
            ui::print(&written)?;
        }
        ui::print(format!("next: cd {shown} && cargo xtask test-in-uml --yes"))
    }
}
