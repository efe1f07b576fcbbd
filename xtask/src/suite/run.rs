//! Running cases in guests of one kernel.

use anyhow::{Result, ensure};

use super::cases::Case;
use super::guests::{Guests, Life, Retire};
use super::verdict::{Outcome, Verdict};
use crate::cancel::Interrupted;
use crate::ctx::Ctx;
use crate::guest::Init;
use crate::kernel::{KernelBinary, Module};
use crate::report::Reporter;
use crate::rootfs::Image;
use crate::stage::Stage;

/// What is to be run.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The kernel under test.
    pub kernel: &'a KernelBinary,
    /// The image that its guests boot from.
    pub image: &'a Image,
    /// The modules that were built for it.
    pub modules: &'a [Module],
    /// What its guests run.
    pub init: Init,
    /// The cases, in their order.
    pub cases: &'a [Case],
    /// Whether the run goes on after a failure.
    pub after_failure: AfterFailure,
    /// Whether the COW of a guest in which a case failed is kept.
    pub keep_failed: bool,
}

/// What happens to the remaining cases after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// They are not run.
    Stop,
    /// They are run.
    GoOn,
}

/// A run that is over.
#[derive(Debug)]
pub struct Finished {
    /// A verdict for each case of the plan, in its order.
    pub verdicts: Vec<Verdict>,
    /// The guests that were booted, in their order.
    pub guests: Vec<Life>,
    /// Whether the user asked us to stop.
    pub interrupted: bool,
    /// Why there was no guest for the rest of the cases.
    pub broken: Option<anyhow::Error>,
}

/// Boots guests and runs the plan's cases in them, one after the other. A guest that ends, or whose
/// kernel complains, is replaced by a fresh one.
///
/// # Errors
/// [`crate::guest::BootFailed`] when the first guest does not come up; others when it cannot be
/// started.
pub fn run(ctx: &Ctx, stage: &Stage, plan: &Plan<'_>, reporter: &Reporter<'_>) -> Result<Finished> {
    let mut guests = Guests::new(ctx, stage, plan, reporter);
    guests.current()?;
    let mut finished =
        Finished { verdicts: Vec::new(), guests: Vec::new(), interrupted: false, broken: None };
    let mut stop: Option<String> = None;
    for case in plan.cases {
        let verdict = match &stop {
            Some(why) => Verdict::not_run(why),
            None => {
                reporter.begins(&plan.kernel.name, case);
                guests.run(case).unwrap_or_else(|error| {
                    let interrupted = error.is::<Interrupted>();
                    let why = if interrupted { "interrupted" } else { "there was no guest for it" };
                    finished.interrupted |= interrupted;
                    finished.broken = (!interrupted).then_some(error);
                    stop = Some(why.into());
                    Verdict::not_run(why)
                })
            }
        };
        if verdict.outcome.is_failure() && plan.after_failure == AfterFailure::Stop {
            stop.get_or_insert_with(|| "a case before it failed (--no-fail-fast goes on)".into());
        }
        reporter.ended(&plan.kernel.name, case, &verdict)?;
        finished.verdicts.push(verdict);
    }
    ensure!(finished.verdicts.len() == plan.cases.len(), "a case was lost: this is a bug of ours");
    guests.retire(if finished.interrupted { Retire::Drop } else { Retire::SwitchOff })?;
    finished.guests = guests.into_lives();
    Ok(finished)
}

/// How many outcomes of each kind there are; their sum is the number of cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed in any way.
    pub failed: usize,
    /// Cases that said why they could not do their work.
    pub skipped: usize,
    /// Cases that were not begun.
    pub not_run: usize,
}

impl Tally {
    /// Counts verdicts.
    pub fn of<'v>(verdicts: impl IntoIterator<Item = &'v Verdict>) -> Self {
        let mut tally = Self::default();
        for verdict in verdicts {
            *match verdict.outcome {
                Outcome::Passed => &mut tally.passed,
                Outcome::Skipped(_) => &mut tally.skipped,
                Outcome::NotRun(_) => &mut tally.not_run,
                _ => &mut tally.failed,
            } += 1;
        }
        tally
    }

    /// How many cases were begun.
    pub fn run(&self) -> usize {
        self.passed + self.failed + self.skipped
    }
}
