//! `cargo xtask bisect`: which commit of a kernel's tree broke a case.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use super::kernels::kernel_of;
use super::wrong_usage;
use crate::ctx::{Ctx, Locking, NetworkAccess};
use crate::history::{Mark, Repository, Search, SharedClone};
use crate::isolation::{OWN_EXE, ended_with_us};
use crate::ui;

/// Exit codes as `git bisect run` understands them (git-bisect(1)): those from 128 on end the search.
pub(super) mod bisect_code {
    pub const GOOD: u8 = 0;
    pub const BAD: u8 = 1;
    pub const SKIP: u8 = 125;
    pub const STOP: u8 = 128;
}

#[derive(Debug, Args)]
pub(super) struct Bisect {
    /// A revision on which the cases pass
    #[arg(long, value_name = "REV")]
    good: String,
    /// A later one, on which one fails
    #[arg(long, value_name = "REV")]
    bad: String,
    /// The kernel's tree, which is in git: nothing is written into it or its repository
    #[arg(long, value_name = "[NAME=]PATH")]
    tree: PathBuf,
    /// The kernel whose entry says how the tree is configured [default: the first configured one]
    #[arg(long = "kernel", value_name = "NAME")]
    kernel: Option<String>,
    /// What `test-in-uml` is told: the case, and how it is run, such as `--repeat 5` or `--program repro.c`
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CASE"
    )]
    tests: Vec<String>,
}

impl Bisect {
    pub fn run(&self, ctx: &Ctx) -> Result<()> {
        let (kernel, tree) = self.kernel_and_tree(ctx)?;
        let repository = Repository::of(tree).map_err(wrong_usage)?;
        let good = repository.commit(&self.good).map_err(wrong_usage)?;
        let bad = repository.commit(&self.bad).map_err(wrong_usage)?;
        let ordered = repository.ensure_ancestor(&good, &bad);
        ordered
            .with_context(|| format!("{} did not come before {}", self.good, self.bad))
            .map_err(wrong_usage)?;
        let clone = repository.cloned(ctx)?;
        let told = self.search(ctx, kernel, &clone, (&good, &bad)).and_then(ui::print);
        // It takes a while.
        clone.remove().and(told)
    }

    /// The entry that the tree is configured by, and the tree.
    fn kernel_and_tree<'a>(&'a self, ctx: &'a Ctx) -> Result<(&'a str, &'a Path)> {
        let (name, tree) = match (kernel_of(ctx, &self.tree), &self.kernel) {
            (Some(both), _) => both,
            (None, Some(name)) => (name.as_str(), self.tree.as_path()),
            (None, None) => (ctx.config.kernel[0].as_str(), self.tree.as_path()),
        };
        ctx.config.kernel_named(name).map_err(wrong_usage)?;
        Ok((name, tree))
    }

    /// Searches; what is to be said of what was found.
    fn search(
        &self,
        ctx: &Ctx,
        kernel: &str,
        clone: &SharedClone,
        (good, bad): (&str, &str),
    ) -> Result<String> {
        // A search between ends that are not what they are called finds anything.
        for (commit, revision, is) in [(bad, &self.bad, Mark::Bad), (good, &self.good, Mark::Good)]
        {
            clone.check_out(ctx, commit)?;
            let found = self.test(ctx, kernel, &clone.tree())?;
            ensure!(found != Mark::Skip, "it cannot be told whether {revision} is {}", word(is));
            ensure!(
                found == is,
                "{revision} is {}, not {}: nothing to search",
                word(found),
                word(is)
            );
        }
        let mut search = clone.start(good, bad)?;
        loop {
            match search {
                Search::GoesOn(how_far) => ctx.ui.say(&format!("{:>12} {how_far}", "bisect")),
                Search::Found(commit) => {
                    let description = clone.description(&commit)?;
                    return Ok(format!("{commit} is the first bad commit\n{description}"));
                }
                Search::OneOf(commits) => {
                    let titles = commits.iter().map(|commit| clone.title(commit));
                    let titles = titles.collect::<Result<Vec<_>>>()?;
                    bail!(
                        "the first bad commit is one of these, and it cannot be told which:\n  {}",
                        titles.join("\n  ")
                    );
                }
            }
            let title = clone.title("HEAD")?;
            ctx.ui.say(&format!("{:>12} {title}", "commit"));
            let mark = self.test(ctx, kernel, &clone.tree())?;
            ctx.ui.say(&format!("{:>12} {}", word(mark), title));
            search = clone.mark(mark)?;
        }
    }

    /// Tests what is checked out, by a process of its own: each run is one.
    fn test(&self, ctx: &Ctx, kernel: &str, tree: &Path) -> Result<Mark> {
        let mut command = Command::new(OWN_EXE);
        command.args(["test-in-uml", "--bisect-exit", "--kernel", kernel]);
        command.arg("--tree").arg(tree);
        if ctx.options.network == NetworkAccess::Offline {
            command.arg("--offline");
        }
        if ctx.options.locking == Locking::Locked {
            command.arg("--locked");
        }
        command.args(&self.tests);
        let status = ended_with_us(&mut command).status().context("cannot start ourselves")?;
        ctx.cancel.check()?;
        match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(bisect_code::GOOD) => Ok(Mark::Good),
            Some(bisect_code::BAD) => Ok(Mark::Bad),
            Some(bisect_code::SKIP) => Ok(Mark::Skip),
            _ => bail!("the search ends here: what is to be run cannot be, {status}"),
        }
    }
}

fn word(mark: Mark) -> &'static str {
    match mark {
        Mark::Good => "good",
        Mark::Bad => "bad",
        Mark::Skip => "cannot tell",
    }
}
