//! A suite out of a folder of the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use glob::Pattern;

use super::{Adapter, Archive, Cases, Rules};
use crate::config::Suite;
use crate::ctx::Ctx;
use crate::isolation::Cmd;
use crate::source_folder::SourceFolder;
use crate::step::Step;

/// A suite of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct FolderSuite<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the configuration says of it.
    pub suite: &'a Suite,
}

impl FolderSuite<'_> {
    fn folder(&self, ctx: &Ctx) -> Result<PathBuf> {
        let folder = ctx.layout.root().join(&self.suite.folder);
        ensure!(folder.is_dir(), "there is no folder {}", folder.display());
        Ok(folder)
    }
}

impl Adapter for FolderSuite<'_> {
    fn name(&self) -> String {
        self.name.into()
    }

    fn recipe(&self, ctx: &Ctx) -> Result<serde_json::Value> {
        let source = SourceFolder(&self.folder(ctx)?).hash()?;
        Ok(serde_json::json!({ "source": source, "build": self.suite.build }))
    }

    fn make(&self, ctx: &Ctx, step: &Step<'_>, work: &Path, out: &Path) -> Result<()> {
        let folder = self.folder(ctx)?;
        let Some(line) = &self.suite.build else { return SourceFolder(&folder).copy_to(out) };
        let copy = work.join("source");
        SourceFolder(&folder).copy_to(&copy)?;
        step.run(&Cmd::new("sh").args(["-e", "-c", line]).dir(&copy).env("OUT", out))
    }

    fn cases(&self, _built: &Archive) -> Result<Cases> {
        let Suite { programs, ignored, result, skip_codes, timeout, environment, .. } = self.suite;
        Ok(Cases {
            programs: patterns(programs)?,
            ignored: patterns(ignored)?,
            rules: Rules::new(*result, skip_codes.clone()),
            timeout: *timeout,
            environment: environment.clone(),
            in_own_folder: false,
            may_be_missing: false,
        })
    }
}

fn patterns(texts: &[String]) -> Result<Vec<Pattern>> {
    texts.iter().map(|text| Pattern::new(text).with_context(|| format!("`{text}`"))).collect()
}
