//! `cargo xtask test-in-uml`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cancel::{CancelToken, Interrupted};
use crate::ctx::Ctx;
use crate::guest::Init;
use crate::invocation;
use crate::kernel;
use crate::report::{Again, RunFacts};
use crate::stage::Stage;
use crate::suite::{AfterFailure, Inject, Lane, Plan, Reuse, Seats, Target, Work};
use anyhow::Result;
use clap::{Args, ValueEnum};

use super::bisect::bisect_code;
use super::choice::{Choice, Chosen};
use super::kernels::{Source, Sources, WantedKernel};
use super::modules::module_folders;
use super::run_plan::{ExitBy, run_plan};
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

/// How they are run.
#[derive(Debug, Args)]
struct RunOptions {
    /// Run this many guests at once; `auto` goes by CPUs and memory
    #[arg(long, value_name = "N", default_value_t)]
    guests: Seats,
    /// Give each case a guest of its own
    #[arg(long)]
    fresh: bool,
    /// Run a case that failed up to N times more, each time in a fresh guest
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// Go on after a failure
    #[arg(long)]
    no_fail_fast: bool,
    /// Give each case this time, such as `5m`, instead of what is configured
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "run_for")]
    timeout: Option<Duration>,
    /// End the run after this time, such as `30m`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// Keep the disk of each guest in which a case failed, and say how to boot it
    #[arg(long)]
    keep_failed: bool,
    /// Keep what passes in the networks of scenarios, as Wireshark opens it; of cases that fail it is kept anyway
    #[arg(long)]
    pcap: bool,
    /// Let the guests of cases reach what this host reaches, by passt(1)
    #[arg(long)]
    online: bool,
    /// Have some of what cases ask of their kernels fail, such as `failslab,fail_page_alloc:1`: a kernel that complains, hangs or
    /// loses memory of it is a failure, a case that fails is none
    #[arg(long, value_name = "KINDS:PERCENT[,SEED]")]
    inject: Option<Inject>,
    /// Exit as `git bisect run` wants it: 0 if all cases passed, 1 if one failed, 125 if that cannot be told, as of a kernel that
    /// does not build or boot, and 128 or more if no other commit need be tried
    #[arg(long)]
    bisect_exit: bool,
    /// What boots the guests: our agent alone, or the image's own init, which starts the agent
    #[arg(long, value_enum, default_value_t, value_name = "INIT")]
    init: InitName,
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
        if self.options.online {
            words.push("--online".into());
        }
        if let Some(inject) = &self.options.inject {
            words.extend(["--inject".into(), inject.to_string()]);
        }
        if let InitName::Sysv = self.options.init {
            words.extend(["--init".into(), "sysv".into()]);
        }
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
        let RunOptions {
            guests,
            fresh,
            retries,
            no_fail_fast,
            timeout,
            deadline,
            keep_failed,
            pcap,
            online,
            ref inject,
            bisect_exit,
            init,
        } = self.options;
        let exit = if bisect_exit { ExitBy::Bisect } else { ExitBy::Run };
        let seats = match self.choice.replays() {
            true => 1,
            false => guests.number(ctx.config.memory).min(about.cases),
        };
        let image = super::image(ctx)?;
        let mut plan = Plan {
            lanes,
            image: &image,
            init: init.into(),
            seats,
            retries,
            // The kernel counts requests since it booted.
            reuse: match fresh || inject.is_some() {
                true => Reuse::Never,
                false => Reuse::Clean,
            },
            after_failure: match no_fail_fast || self.choice.replays() {
                true => AfterFailure::GoOn,
                false => AfterFailure::Stop,
            },
            keep_failed,
            captures: pcap,
            online,
            inject: inject.clone(),
            timeout,
            deadline,
        };
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
