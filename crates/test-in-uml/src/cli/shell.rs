//! `cargo xtask shell`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::ByteSize;
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
    /// Memory of the guest, for example 512M [default: that of the configuration]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// One more disk of this size, empty, that goes with the guest: /dev/ubdb and so on; may be repeated
    #[arg(long = "disk", value_name = "SIZE")]
    disks: Vec<ByteSize>,
    /// One more argument for the guest's kernel; may be repeated
    #[arg(long = "append", value_name = "ARGUMENT", value_parser = kernel_argument)]
    arguments: Vec<String>,
    #[command(flatten)]
    walls: WallsChoice,
}

/// Checks one argument of a kernel. User Mode Linux writes them into one line, by blanks apart.
fn kernel_argument(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("an argument has no blanks: give `--append` once for each".into());
    }
    match text.split('=').next() {
        Some("mem") => Err("the guest's memory is for `--memory`".into()),
        Some(name) if name.starts_with("ubd") => Err("the guest's disks are for `--disk`".into()),
        _ => Ok(text.into()),
    }
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
        let memory = self.memory.unwrap_or(ctx.config.memory);
        let size = match self.memory {
            Some(memory) => ctx.guest_size_with(memory)?,
            None => ctx.guest_size()?,
        };
        let disks: u64 = self.disks.iter().map(|size| size.bytes()).sum();
        let size = size.saturating_add(disks);
        let image = super::image(ctx)?;
        let (kernels, passed_over) = self.sources.build(ctx)?;
        let [kernel] = kernels.as_slice() else {
            bail!("one kernel is wanted, and {} were built", kernels.len());
        };
        kernel.check_memory(memory)?;
        let keep = self.keep.as_ref().map(|path| Cow::at(path, &image)).transpose()?;
        let stage = Stage::start(&walls.isolation, &walls.options(size))?;
        for line in passed_over {
            ctx.ui.warn(&line);
        }
        let plan = ShellPlan {
            kernel,
            image: &image,
            keep: keep.as_ref(),
            memory,
            disks: &self.disks,
            arguments: &self.arguments,
        };
        let end = shell::run(ctx, &stage, &plan)?;
        stage.shutdown()?;
        ctx.ui.say(match end {
            ShellEnd::Off => "the guest switched itself off",
            ShellEnd::Left => "the guest was cut off",
        });
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_one_and_no_other_flags() {
        assert_eq!(kernel_argument("loglevel=8").unwrap(), "loglevel=8");
        assert_eq!(kernel_argument("quiet").unwrap(), "quiet");
        for (text, flag) in
            [("a b", "--append"), ("", "--append"), ("mem=1G", "--memory"), ("ubdb=/x", "--disk")]
        {
            let error = kernel_argument(text).unwrap_err();
            assert!(error.contains(flag), "{text:?}: {error}");
        }
    }
}
