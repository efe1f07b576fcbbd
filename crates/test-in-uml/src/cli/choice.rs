//! Which cases `cargo xtask test-in-uml` runs, and in which order.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::PROGRAM;
use crate::ctx::Ctx;
use crate::report::Again;
use crate::suite::{
    self, Case, CaseFilter, GivenPrograms, Ignored, KunitTest, Lane, Partition, Selection, Suites,
};
use crate::ui;
use anyhow::{Context as _, Result};
use clap::Args;

use super::kernels::WantedKernel;
use super::{report, wrong_usage};

/// Each of them is kept in memory, for each case.
const MOST_REPETITIONS: i64 = 10_000;

#[derive(Debug, Args)]
pub(super) struct Choice {
    #[command(flatten)]
    pub selection: Selection,
    /// Run this suite instead of all that are configured: one of these, `rust` for cargo's tests, `kunit` for the unit tests in
    /// the kernel, or `kselftest:TARGET` for a target of its selftests; may be repeated
    #[arg(long = "suite", value_name = "NAME")]
    pub suites: Vec<String>,
    /// Run this program: a source in C or C++, which is linked statically, a script, an executable file, or a folder of them; each in
    /// guests of its own. Nothing else is run but the suites that are named; may be repeated
    #[arg(long = "program", value_name = "PATH")]
    programs: Vec<PathBuf>,
    /// Let each of these programs run for this time, such as `30s`: if nothing was wrong until then, it has passed
    #[arg(long = "for", id = "run_for", value_name = "TIME", requires = "programs", value_parser = humantime::parse_duration)]
    run_for: Option<Duration>,
    /// Run only cases whose `BINARY NAME` contains one of these
    filters: Vec<String>,
    /// What the compiler is given behind the source of a program, such as `-DX -lpthread`
    #[arg(last = true, value_name = "FLAGS", requires = "programs")]
    compiler_flags: Vec<String>,
    /// List the cases instead of running them
    #[arg(long)]
    pub list: bool,
    /// Which ignored cases to run
    #[arg(long, value_enum, default_value_t, value_name = "WHICH")]
    run_ignored: Ignored,
    /// Run one of n parts of the cases: `slice:1/3` takes every third, `hash:1/3` those whose names
    /// hash to it
    #[arg(long, value_name = "PART")]
    pub partition: Option<Partition>,
    /// Run the cases in random order, that of SEED if one is given
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true)]
    shuffle: Option<Option<u64>>,
    /// Run what failed in the last run, on the kernels on which it failed
    #[arg(long, conflicts_with_all = ["filters", "partition"])]
    last_failed: bool,
    /// Run all that a guest had run in RUN (an id, or `latest`) up to CASE, in one guest
    #[arg(long, value_name = "RUN/CASE", conflicts_with_all = [
        "filters", "partition", "last_failed", "shuffle", "guests", "fresh", "retries", "repeat",
    ])]
    replay: Option<String>,
    /// Find the fewest of them after which CASE still fails as it did, and run these
    #[arg(long, requires = "replay")]
    pub shrink: bool,
    /// Run each case so many times
    #[arg(
        long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=MOST_REPETITIONS),
    )]
    repeat: u32,
}

/// The cases that a guest had run up to one, which is `RUN/CASE`.
pub(super) fn sequence(ctx: &Ctx, replay: &str) -> Result<Again> {
    // A run may be a folder, and the name of a suite may have a slash.
    let splits = replay.rmatch_indices('/').map(|(at, _)| (&replay[..at], &replay[at + 1..]));
    let mut read = splits.map(|(run, case)| Ok((report::read(ctx, run)?, case)));
    let first = read.next().with_context(|| {
        format!("--replay {replay}: write the run, a slash, and the case as BINARY NAME")
    });
    let first: Result<_> = first.map_err(wrong_usage)?;
    let (run, case) = first.or_else(|error| read.find(Result::is_ok).unwrap_or(Err(error)))?;
    crate::report::sequence_of(&run, case).map_err(wrong_usage)
}

/// What was chosen.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    /// Each kernel with its cases; none of them is empty.
    pub lanes: Vec<(WantedKernel<'a>, Lane)>,
    /// The suites that they are of.
    pub suites: Suites,
    /// What the order was made from, if it is random.
    pub seed: Option<u64>,
}

impl Choice {
    /// Returns true if one guest runs what another one had run.
    pub fn replays(&self) -> bool {
        self.replay.is_some()
    }

    /// What an earlier run says is to be run, if that is meant.
    pub fn earlier(&self, ctx: &Ctx) -> Result<Option<Vec<Again>>> {
        if self.last_failed {
            return Ok(Some(crate::report::failed_in(&report::read(ctx, "latest")?)));
        }
        let Some(replay) = &self.replay else { return Ok(None) };
        Ok(Some(vec![sequence(ctx, replay)?]))
    }

    /// The programs that were given, if any was.
    fn given(&self) -> Option<GivenPrograms> {
        let (paths, flags) = (self.programs.clone(), self.compiler_flags.clone());
        (!paths.is_empty()).then_some(GivenPrograms { paths, flags, run_for: self.run_for })
    }

    /// The flags that say which programs were given.
    pub fn given_flags(&self) -> Vec<String> {
        let paths = self.programs.iter();
        let mut words: Vec<String> =
            paths.flat_map(|path| ["--program".into(), path.display().to_string()]).collect();
        if let Some(time) = self.run_for {
            words.extend(["--for".into(), humantime::format_duration(time).to_string()]);
        }
        words
    }

    /// What is at the end of the command line, behind all flags.
    pub fn behind_flags(&self) -> Vec<String> {
        let flags = self.compiler_flags.as_slice();
        let dashes = (!flags.is_empty()).then(|| "--".into());
        dashes.into_iter().chain(flags.iter().cloned()).collect()
    }

    /// The names of the suites that are meant; none if all of the configuration are.
    fn suites(&self, ctx: &Ctx, earlier: Option<&[Again]>) -> Vec<String> {
        match (self.suites.as_slice(), earlier) {
            (named, _) if !self.programs.is_empty() => {
                named.iter().cloned().chain([PROGRAM.into()]).collect()
            }
            ([], Some(earlier)) => {
                let cases: Vec<String> =
                    earlier.iter().flat_map(|again| again.cases.clone()).collect();
                suite::named_by(ctx, &cases)
            }
            (named, _) => named.to_vec(),
        }
    }

    /// What is to be run on each of the kernels.
    pub fn of<'a>(
        &self,
        ctx: &'a Ctx,
        kernels: &[WantedKernel<'a>],
        earlier: Option<&[Again]>,
        unit_tests: impl Fn(&[WantedKernel<'a>]) -> Result<Vec<KunitTest>>,
    ) -> Result<Chosen<'a>> {
        let names = self.suites(ctx, earlier);
        let (mut kernels, mut sources) = (kernels.to_vec(), Vec::new());
        let (of_kernels, in_kernels) =
            (suite::are_of_kernels(&names), suite::have_unit_tests(&names));
        if of_kernels || in_kernels {
            for kernel in &mut kernels {
                *kernel = kernel.decided(ctx)?;
            }
        }
        if of_kernels {
            for kernel in &kernels {
                sources.push(kernel.source(ctx)?);
            }
        }
        let unit_tests = if in_kernels { unit_tests(&kernels)? } else { Vec::new() };
        let given = self.given();
        let suites = Suites::build(ctx, &names, given.as_ref(), &self.selection, &sources)?;
        let ignored = if earlier.is_some() { Ignored::All } else { self.run_ignored };
        let filter = CaseFilter { words: self.filters.clone(), ignored };
        let mut cases = suite::list(ctx, &suites, &unit_tests, &filter)?;
        if let Some(partition) = &self.partition {
            cases = partition.of(cases);
        }
        let seed = self.shuffle.map(|seed| seed.unwrap_or_else(suite::random_seed));
        let mut lanes = Vec::new();
        for kernel in kernels {
            let mut cases = match earlier {
                Some(earlier) => among(ctx, &cases, earlier, kernel.name()),
                None => cases.clone(),
            };
            cases.retain(|case| case.is_for(kernel.name()));
            if let Some(seed) = seed {
                suite::shuffle(&mut cases, seed);
            }
            let jobs = suite::repeated(&cases, self.repeat);
            if !jobs.is_empty() {
                lanes.push((kernel, Lane { name: kernel.name().into(), jobs }));
            }
        }
        Ok(Chosen { lanes, suites, seed })
    }
}

/// Why a case of an earlier run is not there.
pub(super) fn why_gone(name: &str) -> String {
    match name.split_once(' ') {
        Some((PROGRAM, file)) => format!("`{name}` was given: give {file} again, by --program"),
        _ => format!("`{name}` no longer exists"),
    }
}

/// Those of the cases that an earlier run names for a kernel.
fn among(ctx: &Ctx, cases: &[Case], earlier: &[Again], kernel: &str) -> Vec<Case> {
    let Some(again) = earlier.iter().find(|again| again.kernel == kernel) else {
        return Vec::new();
    };
    let (found, gone) = again.among(cases);
    for name in gone {
        ctx.ui.warn(&why_gone(&name));
    }
    found
}

impl Chosen<'_> {
    /// Prints the names of the cases, each once.
    pub fn list(&self) -> Result<()> {
        let mut listed = HashSet::new();
        for job in self.lanes.iter().flat_map(|(_, lane)| &lane.jobs) {
            for name in job.work.names() {
                let name = name.to_string();
                if !listed.contains(&name) {
                    ui::print(&name)?;
                    listed.insert(name);
                }
            }
        }
        Ok(())
    }
}
