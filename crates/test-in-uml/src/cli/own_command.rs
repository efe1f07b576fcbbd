//! Commands that a workspace has beside those of the engine.

use std::process::ExitCode;

use anyhow::Result;
use clap::Arg;

use crate::ctx::Ctx;

/// A command that a workspace has beside those of the engine.
#[derive(Debug, Clone, Copy)]
pub struct OwnCommand {
    /// What it is called.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// What its arguments are called; nothing if it takes none.
    pub arguments: Option<&'static str>,
    /// Does it.
    pub run: fn(&Ctx, &[String]) -> Result<ExitCode>,
}

impl OwnCommand {
    /// How clap knows it.
    pub(super) fn command(&self) -> clap::Command {
        let command = clap::Command::new(self.name).about(self.about);
        match self.arguments {
            Some(name) => command.arg(Arg::new(ARGUMENTS).value_name(name).num_args(1..)),
            None => command,
        }
    }
}

/// What clap knows the arguments of such a command by.
pub(super) const ARGUMENTS: &str = "arguments";
