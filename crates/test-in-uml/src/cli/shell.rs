//! `cargo xtask shell`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::ctx::Ctx;
use crate::doctor;
use crate::guest::Cow;
use crate::shell::{self, ShellEnd, ShellPlan};
use crate::stage::Stage;
use anyhow::{Result, anyhow, bail};
use clap::Args;

use super::kernels::Sources;
use super::walls::WallsChoice;
use super::wrong_usage;

#[derive(Debug, Args)]
pub(super) struct Shell {
    #[command(flatten)]
    sources: Sources,
    /// Keep the guest's disk, a COW of the image, in this file, or go on with the one that is there
    #[arg(long, value_name = "PATH")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    walls: WallsChoice,
}

impl Shell {
    pub fn run(&self, ctx: &Ctx) -> Result<ExitCode> {
        if self.sources.wanted(ctx)?.len() > 1 {
            let why = "a terminal has room for one guest: give `--kernel` once";
            return Err(wrong_usage(anyhow!(why)));
        }
        doctor::ensure(ctx, None)?;
        let walls = self.walls.of(ctx)?;
        walls.ensure(ctx)?;
        let size = ctx.guest_size()?;
        let image = super::image(ctx)?;
        let (kernels, passed_over) = self.sources.build(ctx)?;
        let [kernel] = kernels.as_slice() else {
            bail!("one kernel is wanted, and {} were built", kernels.len());
        };
        kernel.check_memory(ctx.config.memory)?;
        let keep = self.keep.as_ref().map(|path| Cow::at(path, &image)).transpose()?;
        let stage = Stage::start(&walls.isolation, &walls.options(size))?;
        for line in passed_over {
            ctx.ui.warn(&line);
        }
        let end =
            shell::run(ctx, &stage, &ShellPlan { kernel, image: &image, keep: keep.as_ref() })?;
        stage.shutdown()?;
        ctx.ui.say(match end {
            ShellEnd::Off => "the guest switched itself off",
            ShellEnd::Left => "the guest was cut off",
        });
        Ok(ExitCode::SUCCESS)
    }
}
