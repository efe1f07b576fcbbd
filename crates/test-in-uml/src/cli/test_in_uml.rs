//! `cargo xtask test-in-uml`.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cancel::{CancelToken, Interrupted};
use crate::ctx::Ctx;
use crate::invocation;
use crate::kernel;
use crate::report::{Again, RunFacts};
use crate::stage::Stage;
use crate::suite::{Lane, Target, Work};
use anyhow::Result;
use clap::Args;

use super::bisect::bisect_code;
use super::choice::{Choice, Chosen};
use super::kernels::{Source, Sources, WantedKernel};
use super::modules::module_folders;
use super::run_options::RunOptions;
use super::run_plan::run_plan;
use super::shrink::shrunk;
use super::unit_tests::unit_tests;
use super::walls::{Walls, WallsChoice};
use super::{Yes, code};

#[derive(Debug, Args)]
pub(super) struct TestInUml {
    #[command(flatten)]
    sources: Sources,
    /// Test every configured kernel
    #[arg(long, conflicts_with_all = ["names", "trees", "tarballs"])]
    all_kernels: bool,
    #[command(flatten)]
    yes: Yes,
    /// Build this folder of an out-of-tree kernel module too, for cases to load; may be repeated
    #[arg(long = "module", value_name = "PATH")]
    modules: Vec<PathBuf>,
    /// Say what newly fails, is fixed or became slower since this run: its id, folder, or `latest`
    #[arg(long, value_name = "RUN")]
    baseline: Option<String>,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    walls: WallsChoice,
}

impl TestInUml {
    pub fn run(&self, ctx: &Ctx) -> Result<u8> {
        let code = self.run_cases(ctx);
        if !self.options.bisect_exit {
            return code;
        }
        match code {
            Ok(code::NO_TESTS) => Ok(bisect_code::STOP),
            Err(error) if !error.is::<Interrupted>() => {
                ctx.ui.line(&format!("error: {error:#}"));
                Ok(bisect_code::STOP)
            }
            code => code,
        }
    }

    fn run_cases(&self, ctx: &Ctx) -> Result<u8> {
        // Before this run is the latest, and perhaps prunes another.
        let baseline = self.baseline.as_deref().map(|name| super::report::read(ctx, name));
        let baseline = baseline.transpose()?;
        let earlier = self.choice.earlier(ctx)?;
        // What is wrong is said before anything is built.
        let size = ctx.guest_size()?;
        let modules = module_folders(ctx, &self.modules)?;
        let kernels = self.kernels(ctx, earlier.as_deref())?;
        let walls = (!self.choice.list).then(|| self.ensure_walls(ctx)).transpose()?;
        let unit_tests = |kernels: &[WantedKernel<'_>]| match &walls {
            Some(walls) => unit_tests(ctx, kernels, (walls, size)),
            None => unit_tests(ctx, kernels, (&self.ensure_walls(ctx)?, size)),
        };
        let chosen = self.choice.of(ctx, &kernels, earlier.as_deref(), unit_tests)?;
        let Some(walls) = walls else {
            chosen.list()?;
            return Ok(0);
        };
        let Chosen { lanes, suites, seed } = chosen;
        if lanes.is_empty() {
            ctx.ui.line("there is no such case: `--list` shows them all");
            return Ok(code::NO_TESTS);
        }
        if let Some(seed) = seed {
            ctx.ui.say(&format!("{:>12} --shuffle={seed}", "order"));
        }
        if let Some(inject) = &self.options.inject {
            ctx.ui.say(&format!("{:>12} --inject {inject}", "failures"));
            let jobs = lanes.iter().flat_map(|(_, lane)| &lane.jobs);
            if jobs.into_iter().any(|job| matches!(job.work, Work::Kunit(_))) {
                ctx.ui.warn("unit tests of a kernel are no processes: nothing fails for them");
            }
        }
        let about = RunFacts {
            walls: walls.to_string(),
            cases: lanes.iter().map(|(_, lane)| lane.cases()).sum(),
            seed,
            partition: self.choice.partition.clone(),
            baseline,
            again: self.again(),
        };
        let (kernels, lanes): (Vec<_>, Vec<_>) = lanes.into_iter().unzip();
        let make = |lane: usize, cancel: &CancelToken| {
            let ctx = &ctx.ended_by(cancel);
            let (kernel, passed_over) = kernels[lane].build(ctx)?;
            kernel.check_memory(ctx.config.memory)?;
            suites.say_what_is_missing(ctx, &kernel);
            let modules = kernel::build_modules(ctx, &kernel, &modules)?;
            Target::new(kernel, passed_over, modules).map(Arc::new)
        };
        self.run_lanes(ctx, lanes, make, (&walls, size), about)
    }

    /// What guests are run in, on a host that has all that is needed.
    fn ensure_walls(&self, ctx: &Ctx) -> Result<Walls> {
        self.walls.ensured(ctx, self.yes.consent())
    }

    /// The kernels that are meant: those of an earlier run's cases, if no others are named.
    fn kernels<'a>(
        &'a self,
        ctx: &'a Ctx,
        earlier: Option<&'a [Again]>,
    ) -> Result<Vec<WantedKernel<'a>>> {
        match earlier {
            _ if self.all_kernels => WantedKernel::all(ctx),
            Some(earlier) if !self.sources.are_named() => earlier
                .iter()
                .map(|again| WantedKernel::named(ctx, &again.kernel, Source::Configured))
                .collect(),
            _ => self.sources.wanted(ctx),
        }
    }

    /// The command that runs again what failed.
    fn again(&self) -> String {
        let mut words: Vec<String> = invocation::command().split(' ').map(String::from).collect();
        words.extend(["test-in-uml".into(), "--last-failed".into()]);
        let (trees, tarballs) = (&self.sources.trees, &self.sources.tarballs);
        for (flag, paths) in [("--tree", trees), ("--tarball", tarballs)] {
            words.extend(paths.iter().flat_map(|path| [flag.into(), path.display().to_string()]));
        }
        if !(trees.is_empty() && tarballs.is_empty()) {
            let names = self.sources.kernels.names.iter();
            words.extend(names.flat_map(|name| ["--kernel".into(), name.clone()]));
        }
        words.extend(self.choice.suites.iter().flat_map(|name| ["--suite".into(), name.clone()]));
        words.extend(self.choice.selection.flags());
        words.extend(self.choice.given_flags());
        words.extend(self.walls.flags());
        words.extend(self.options.flags());
        for module in &self.modules {
            words.extend(["--module".into(), module.display().to_string()]);
        }
        words.extend(self.choice.behind_flags());
        shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
    }

    /// Runs the cases of the lanes, on the kernels that `make` gives, in guests of this size each, within these walls.
    fn run_lanes(
        &self,
        ctx: &Ctx,
        lanes: Vec<Lane>,
        make: impl Fn(usize, &CancelToken) -> Result<Arc<Target>> + Sync,
        (walls, size): (&Walls, u64),
        mut about: RunFacts,
    ) -> Result<u8> {
        let replays = self.choice.replays();
        let seats = match replays {
            true => 1,
            false => self.options.guests.number(ctx.config.memory).min(about.cases),
        };
        let (image, exit) = (super::image(ctx)?, self.options.exit());
        let mut plan = self.options.plan(lanes, &image, seats, replays);
        let stage = Stage::start(&walls.isolation, &walls.options(size))?;
        if !self.choice.shrink {
            return run_plan(ctx, stage, &plan, make, (about, exit));
        }
        let target = make(0, &ctx.cancel)?;
        let make = |_: usize, _: &CancelToken| Ok(Arc::clone(&target));
        plan.lanes = vec![shrunk(ctx, &stage, &plan, make)?];
        about.cases = plan.lanes.iter().map(Lane::cases).sum();
        run_plan(ctx, stage, &plan, make, (about, exit))
    }
}
