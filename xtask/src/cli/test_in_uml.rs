//! `cargo xtask test-in-uml`.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use xtask::ctx::Ctx;
use xtask::doctor::{self, Consent};
use xtask::guest::Init;
use xtask::kernel;
use xtask::report::Reporter;
use xtask::stage::{Stage, StageOptions};
use xtask::suite::{self, AfterFailure, Case, Filter, Ignored, Life, Plan, Tally};

use super::{Sources, Yes, cancel, code};

#[derive(Debug, Args)]
pub(super) struct TestInUml {
    /// Run only cases whose `BINARY NAME` contains one of these
    filters: Vec<String>,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    yes: Yes,
    /// Build this folder of an out-of-tree kernel module too, for cases to load; may be repeated
    #[arg(long = "module", value_name = "PATH")]
    modules: Vec<PathBuf>,
    /// List the cases instead of running them
    #[arg(long)]
    list: bool,
    /// Go on after a failure
    #[arg(long)]
    no_fail_fast: bool,
    /// Keep the disk of each guest in which a case failed, and say how to boot it
    #[arg(long)]
    keep_failed: bool,
    /// What boots the guests: our agent alone, or the image's own init, which starts the agent
    #[arg(long, value_enum, default_value_t, value_name = "INIT")]
    init: InitName,
    /// Which ignored cases to run
    #[arg(long, value_enum, default_value_t, value_name = "WHICH")]
    run_ignored: Ignored,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum InitName {
    #[default]
    Agent,
    Sysv,
}

impl From<InitName> for Init {
    fn from(name: InitName) -> Self {
        match name {
            InitName::Agent => Init::Agent,
            InitName::Sysv => Init::Sysv,
        }
    }
}

impl TestInUml {
    pub fn run(&self, ctx: &Ctx) -> Result<u8> {
        doctor::ensure(ctx, self.yes.given().then_some(Consent::Given))?;
        let binaries = suite::test_binaries(ctx)?;
        let filter = Filter { words: self.filters.clone(), ignored: self.run_ignored };
        let cases = suite::list(&binaries, &filter)?;
        if self.list {
            for case in &cases {
                println!("{}", case.full_name());
            }
            return Ok(0);
        }
        if cases.is_empty() {
            ctx.ui.line("no case is called so: `--list` shows them all");
            return Ok(code::NO_TESTS);
        }
        self.run_cases(ctx, &cases)
    }

    fn run_cases(&self, ctx: &Ctx, cases: &[Case]) -> Result<u8> {
        let image = super::image(ctx)?;
        let (kernels, passed_over) = self.sources.build(ctx)?;
        let started = Instant::now();
        // Guest memory and COWs of one guest at a time, with room for what the kernel adds.
        let size = ctx.config.memory.bytes() * 2 + ctx.config.rootfs.size.bytes();
        let stage = Stage::start(ctx.isolation()?, &StageOptions { size })?;
        let reporter = Reporter::new(&ctx.ui, ctx.run()?)?;
        let (mut verdicts, mut guests) = (Vec::new(), Vec::new());
        let (mut interrupted, mut broken) = (false, None);
        let folders = self.module_folders(ctx)?;
        for kernel in &kernels {
            reporter.kernel(kernel, &passed_over)?;
            let modules = kernel::build_modules(ctx, kernel, &folders)?;
            let after_failure =
                if self.no_fail_fast { AfterFailure::GoOn } else { AfterFailure::Stop };
            let init = self.init.into();
            let plan = Plan {
                kernel,
                image: &image,
                modules: &modules,
                init,
                cases,
                after_failure,
                keep_failed: self.keep_failed,
            };
            let finished = suite::run(ctx, &stage, &plan, &reporter)?;
            verdicts.extend(finished.verdicts);
            guests.extend(finished.guests);
            interrupted |= finished.interrupted;
            broken = broken.or(finished.broken);
        }
        stage.shutdown()?;
        let tally = Tally::of(&verdicts);
        for line in passed_over {
            ctx.ui.warn(&line);
        }
        reporter.summary(&tally, started.elapsed(), &guests)?;
        if let Some(error) = broken {
            return Err(error.context("no guest came up in place of one that had ended"));
        }
        let died = guests.iter().any(Life::is_failure);
        Ok(match (interrupted, tally) {
            (true, _) => cancel::EXIT_CODE,
            (_, Tally { failed: 1.., .. } | Tally { not_run: 1.., .. }) => code::TEST_FAILED,
            _ if died => code::TEST_FAILED,
            _ => 0,
        })
    }

    /// The folders that the configuration names, and those of the command line.
    fn module_folders(&self, ctx: &Ctx) -> Result<Vec<PathBuf>> {
        let configured = ctx.config.modules.iter().map(|folder| ctx.layout.root().join(folder));
        let mut folders: Vec<PathBuf> = configured.collect();
        for folder in &self.modules {
            let path = folder.canonicalize();
            folders.push(path.with_context(|| format!("--module {}", folder.display()))?);
        }
        folders.dedup();
        Ok(folders)
    }
}
