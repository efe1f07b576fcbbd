//! `cargo xtask test-in-uml`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use xtask::ctx::Ctx;
use xtask::doctor::{self, Consent};
use xtask::guest::Init;
use xtask::kernel;
use xtask::report::{About, Reporter};
use xtask::stage::{Stage, StageOptions};
use xtask::suite::{
    self, AfterFailure, Case, Filter, Finished, Ignored, Lane, Partition, Plan, Reuse, Seats,
    Target,
};
use xtask::ui;

use super::{Sources, Wanted, Yes, cancel, code};

#[derive(Debug, Args)]
pub(super) struct TestInUml {
    /// Run only cases whose `BINARY NAME` contains one of these
    filters: Vec<String>,
    #[command(flatten)]
    sources: Sources,
    /// Test every configured kernel
    #[arg(long, conflicts_with_all = ["names", "tree", "tarball"])]
    all_kernels: bool,
    #[command(flatten)]
    yes: Yes,
    /// Build this folder of an out-of-tree kernel module too, for cases to load; may be repeated
    #[arg(long = "module", value_name = "PATH")]
    modules: Vec<PathBuf>,
    /// List the cases instead of running them
    #[arg(long)]
    list: bool,
    /// Say what newly fails, is fixed or became slower since this run: its id, folder, or `latest`
    #[arg(long, value_name = "RUN")]
    baseline: Option<String>,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    manner: Manner,
}

/// Which cases are run, and in which order.
#[derive(Debug, Args)]
struct Choice {
    /// Which ignored cases to run
    #[arg(long, value_enum, default_value_t, value_name = "WHICH")]
    run_ignored: Ignored,
    /// Run one of n parts of the cases: `slice:1/3` takes every third, `hash:1/3` those whose names
    /// hash to it
    #[arg(long, value_name = "PART")]
    partition: Option<Partition>,
    /// Run the cases in random order, that of SEED if one is given
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true)]
    shuffle: Option<Option<u64>>,
    /// Run each case so many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
}

/// How they are run.
#[derive(Debug, Args)]
struct Manner {
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
    /// End the run after this time, such as `30m`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// Keep the disk of each guest in which a case failed, and say how to boot it
    #[arg(long)]
    keep_failed: bool,
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
        // Before this run is the latest, and perhaps prunes it.
        let baseline = self.baseline.as_deref().map(|name| super::report::read(ctx, name));
        let baseline = baseline.transpose()?;
        // What is wrong is said before anything is built.
        let size = ctx.guest_size()?;
        let modules = self.module_folders(ctx)?;
        let kernels = match self.all_kernels {
            true => Wanted::all(ctx)?,
            false => self.sources.wanted(ctx)?,
        };
        if !self.list {
            doctor::ensure(ctx, self.yes.given().then_some(Consent::Given))?;
            doctor::ensure_guests(ctx)?;
        }
        let binaries = suite::test_binaries(ctx)?;
        let filter = Filter { words: self.filters.clone(), ignored: self.choice.run_ignored };
        let seed = self.choice.shuffle.map(|seed| seed.unwrap_or_else(suite::random_seed));
        let cases = self.choice.of(suite::list(&binaries, &filter)?, seed);
        if self.list {
            for case in &cases {
                ui::print(case.full_name())?;
            }
            return Ok(0);
        }
        if cases.is_empty() {
            ctx.ui.line("no case is called so: `--list` shows them all");
            return Ok(code::NO_TESTS);
        }
        if let Some(seed) = seed {
            ctx.ui.say(&format!("{:>12} --shuffle={seed}", "order"));
        }
        let lane = |wanted: &Wanted<'_>| Lane {
            name: wanted.name().into(),
            jobs: suite::repeated(&cases, self.choice.repeat),
        };
        let lanes: Vec<Lane> = kernels.iter().map(lane).collect();
        let about = About {
            cases: lanes.iter().map(|lane| lane.jobs.len()).sum(),
            seed,
            partition: self.choice.partition.clone(),
            baseline,
        };
        let make = |lane: usize| {
            let (kernel, passed_over) = kernels[lane].build(ctx)?;
            let modules = kernel::build_modules(ctx, &kernel, &modules)?;
            Target::new(kernel, passed_over, modules)
        };
        self.run_lanes(ctx, lanes, make, size, about)
    }

    /// Runs the cases of the lanes, on the kernels that `make` gives, in guests of this size each.
    fn run_lanes(
        &self,
        ctx: &Ctx,
        lanes: Vec<Lane>,
        make: impl Fn(usize) -> Result<Target> + Sync,
        size: u64,
        about: About,
    ) -> Result<u8> {
        let Manner { guests, fresh, retries, no_fail_fast, deadline, keep_failed, init } =
            self.manner;
        let seats = guests.number(ctx.config.memory).min(about.cases);
        let image = super::image(ctx)?;
        let started = Instant::now();
        let plan = Plan {
            lanes,
            image: &image,
            init: init.into(),
            seats,
            retries,
            reuse: if fresh { Reuse::Never } else { Reuse::Clean },
            after_failure: if no_fail_fast { AfterFailure::GoOn } else { AfterFailure::Stop },
            keep_failed,
            deadline,
        };
        let size = size * seats as u64;
        let stage = Stage::start(ctx.isolation()?, &StageOptions { size })?;
        let mut reporter = Reporter::new(&ctx.ui, ctx.run()?, about)?;
        let finished = suite::run(ctx, &stage, &plan, make, &mut reporter)?;
        stage.shutdown()?;
        reporter.summary(&finished.tally, started.elapsed())?;
        exit_code(ctx, finished)
    }

    /// The folders that the configuration names, and those of the command line.
    fn module_folders(&self, ctx: &Ctx) -> Result<Vec<PathBuf>> {
        let configured = ctx.config.modules.iter();
        let configured = configured
            .map(|folder| ("modules of the configuration", ctx.layout.root().join(folder)));
        let named = self.modules.iter().map(|folder| ("--module", folder.clone()));
        let mut folders: Vec<PathBuf> = Vec::new();
        for (whose, folder) in configured.chain(named) {
            let path = folder.canonicalize();
            let path = path.with_context(|| format!("{whose}: {}", folder.display()))?;
            if !folders.contains(&path) {
                folders.push(path);
            }
        }
        Ok(folders)
    }
}

impl Choice {
    /// Those of the cases that are wanted, in the order that is wanted.
    fn of(&self, mut cases: Vec<Case>, seed: Option<u64>) -> Vec<Case> {
        if let Some(partition) = &self.partition {
            cases = partition.of(cases);
        }
        if let Some(seed) = seed {
            suite::shuffle(&mut cases, seed);
        }
        cases
    }
}

fn exit_code(ctx: &Ctx, finished: Finished) -> Result<u8> {
    let Finished { tally, guests_failed, interrupted, mut broken } = finished;
    if interrupted {
        return Ok(cancel::EXIT_CODE);
    }
    if let Some(last) = broken.pop() {
        for error in broken {
            ctx.ui.line(&format!("error: {error:#}"));
        }
        return Err(last);
    }
    Ok(match tally.failed + tally.not_run {
        0 if !guests_failed => 0,
        _ => code::TEST_FAILED,
    })
}
