//! What a run is to do: the kernels, the cases on each, and in which manner.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::binary_case::BinaryCase;
use super::case_name::CaseName;
use super::inject::Inject;
use super::kunit::KunitTest;
use crate::guest::{Init, Program};
use crate::kernel::{KernelBinary, Module};
use crate::rootfs::Image;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The kernels, and what is to be run on each.
    pub lanes: Vec<Lane>,
    /// The image that guests boot from.
    pub image: &'a Image,
    /// What guests run.
    pub init: Init,
    /// The number of guests there are at once.
    pub seats: usize,
    /// How often a case that failed is run again, each time in a fresh guest.
    pub retries: u32,
    /// Which guest a case gets.
    pub reuse: Reuse,
    /// Whether the run goes on after a failure.
    pub after_failure: AfterFailure,
    /// True if the COW of a guest in which a case failed is kept.
    pub keep_failed: bool,
    /// True if what passes in networks of scenarios is kept, also of cases that pass.
    pub captures: bool,
    /// True if guests of cases reach what this host reaches.
    pub online: bool,
    /// What fails of that which cases ask of their kernels.
    pub inject: Option<Inject>,
    /// More arguments for the kernels of its guests.
    pub append: Vec<String>,
    /// Variables that cases have in their environment.
    pub environment: Vec<(String, String)>,
    /// The time that a case may take, if it is none of those that are configured.
    pub timeout: Option<Duration>,
    /// After this long, the run is ended.
    pub deadline: Option<Duration>,
}

/// What is to be run on a kernel.
#[derive(Debug, Clone)]
pub struct Lane {
    /// What the kernel is called until it is built: the default one is not known before.
    pub name: String,
    /// What is done, in this order.
    pub jobs: Vec<Job>,
}

impl Lane {
    /// How many verdicts there will be.
    pub fn cases(&self) -> usize {
        self.jobs.iter().map(|job| job.work.names().len()).sum()
    }
}

/// What is to be run on a kernel in one go.
#[derive(Debug, Clone)]
pub struct Job {
    /// The cases.
    pub work: Work,
    /// Which of their repetitions this is, from 1.
    pub repetition: u32,
}

/// What is run in one go.
#[derive(Debug, Clone)]
pub enum Work {
    /// A case, in a guest that may have run others.
    Case(BinaryCase),
    /// Unit tests of one suite, while a guest of their own boots.
    Kunit(Vec<KunitTest>),
}

impl Work {
    /// What its cases are called.
    pub fn names(&self) -> Vec<CaseName> {
        match self {
            Work::Case(case) => vec![case.name()],
            Work::Kunit(tests) => tests.iter().map(KunitTest::name).collect(),
        }
    }
}

/// Which guest a case gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// That of the case before it, if it is as good as new.
    Clean,
    /// A fresh one.
    Never,
}

/// What happens to the remaining cases after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// They are not run.
    Stop,
    /// They are run.
    GoOn,
}

/// A kernel under test, with what its guests are sent.
#[derive(Debug)]
pub struct Target {
    /// The kernel.
    pub kernel: KernelBinary,
    /// Kernels that were to be used in its place, and why they were not.
    pub passed_over: Vec<String>,
    pub(super) modules: Vec<(Module, Program)>,
    pub(super) calibrating: Mutex<()>,
    guests: AtomicU32,
}

impl Target {
    /// A kernel with the modules that were built for it.
    ///
    /// # Errors
    /// When a module cannot be read.
    pub fn new(
        kernel: KernelBinary,
        passed_over: Vec<String>,
        modules: Vec<Module>,
    ) -> Result<Self> {
        let open = |module: Module| Ok((Program::open(&module.path)?, module));
        let open = |module| open(module).map(|(program, module)| (module, program));
        let modules = modules.into_iter().map(open).collect::<Result<_>>()?;
        let (calibrating, guests) = (Mutex::new(()), AtomicU32::new(0));
        Ok(Self { kernel, passed_over, modules, calibrating, guests })
    }

    /// The name of one more guest.
    pub(super) fn next_name(&self) -> String {
        let number = self.guests.fetch_add(1, Ordering::Relaxed) + 1;
        format!("guest-{}-{number}", self.kernel.name)
    }
}
