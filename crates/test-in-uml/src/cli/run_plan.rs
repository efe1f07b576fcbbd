//! A run and its report, and what comes of both.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow};

use super::bisect::bisect_code;
use super::{cancel, code};
use crate::cancel::CancelToken;
use crate::ctx::Ctx;
use crate::report::{Reporter, RunFacts};
use crate::stage::Stage;
use crate::suite::{self, Finished, Plan, Target};

/// Runs a plan, and reports it.
pub(super) fn run_plan(
    ctx: &Ctx,
    stage: Stage,
    plan: &Plan<'_>,
    make: impl Fn(usize, &CancelToken) -> Result<Arc<Target>> + Sync,
    (about, exit): (RunFacts, ExitBy),
) -> Result<u8> {
    let started = Instant::now();
    let mut reporter = Reporter::new(&ctx.ui, ctx.run()?, about)?;
    let finished = suite::run(ctx, &stage, plan, make, &mut reporter)?;
    let ended = stage.shutdown();
    let written = reporter.finish(&finished, started.elapsed());
    let wanted = suite::wanted(ctx, &finished.wants).map(|text| {
        text.lines().for_each(|line| ctx.ui.line(&format!("{:>12} {line}", "wanted")));
    });
    let (of_bisect, flaky) = (of_bisect(&finished), finished.tally.flaky);
    let (mut errors, code) = outcome(finished, [ended, written, wanted]);
    let code = match (exit, code) {
        (ExitBy::Bisect, code) => {
            errors.extend(code.err());
            Ok(of_bisect)
        }
        (ExitBy::RunWithoutFlaky, Ok(0)) if flaky > 0 => {
            errors.push(anyhow!("{flaky} flaky, which --flaky fail does not let pass"));
            Ok(code::TEST_FAILED)
        }
        (ExitBy::Run | ExitBy::RunWithoutFlaky, code) => code,
    };
    for error in errors {
        ctx.ui.line(&format!("error: {error:#}"));
    }
    code
}

/// What the exit code of a run says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExitBy {
    /// Whether it was red, as nextest has it.
    Run,
    /// The same, and a case that passed after it had failed makes it red.
    RunWithoutFlaky,
    /// Whether its kernel is good or bad, as `git bisect run` has it.
    Bisect,
}

/// What a run says of its kernel. One case that failed is enough, whatever became of the others.
fn of_bisect(finished: &Finished) -> u8 {
    let Finished { tally, guests_failed, interrupted, broken, wants: _ } = finished;
    if *interrupted {
        cancel::EXIT_CODE
    } else if tally.failed > 0 {
        bisect_code::BAD
    } else if *guests_failed || tally.not_run > 0 || !broken.is_empty() || tally.passed == 0 {
        bisect_code::SKIP
    } else {
        bisect_code::GOOD
    }
}

/// The exit code of a run, or the error in its place, and all that is to be said before. What went wrong beside the
/// run, a report that cannot be written for example, hides no case that failed, and is not hidden by cases that
/// passed.
fn outcome(
    finished: Finished,
    beside: impl IntoIterator<Item = Result<()>>,
) -> (Vec<anyhow::Error>, Result<u8>) {
    let Finished { tally, guests_failed, interrupted, broken, wants: _ } = finished;
    let is_red = interrupted || tally.failed + tally.not_run > 0 || guests_failed;
    let is_broken = !broken.is_empty() && !interrupted;
    let mut errors = broken;
    errors.extend(beside.into_iter().filter_map(Result::err));
    let last = if is_broken || !is_red { errors.pop() } else { None };
    let code = match last {
        Some(error) => Err(error),
        None if interrupted => Ok(cancel::EXIT_CODE),
        None if is_red => Ok(code::TEST_FAILED),
        None => Ok(0),
    };
    (errors, code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{CaseEnd, Tally};

    #[test]
    fn a_report_that_cannot_be_written_neither_hides_a_failure_nor_is_hidden() {
        let full = || [Ok(()), Err(anyhow!("the disk is full"))];
        let run = |end| {
            let mut tally = Tally::default();
            tally.count(end, false);
            Finished { tally, ..Finished::default() }
        };
        let (said, code) = outcome(run(CaseEnd::Failed), full());
        assert_eq!((said.len(), code.unwrap()), (1, code::TEST_FAILED));
        let (said, code) = outcome(run(CaseEnd::Passed), full());
        assert_eq!((said.len(), code.unwrap_err().to_string()), (0, "the disk is full".into()));
        let interrupted = Finished { interrupted: true, ..run(CaseEnd::Passed) };
        let (said, code) = outcome(interrupted, full());
        assert_eq!((said.len(), code.unwrap()), (1, cancel::EXIT_CODE));
        let boots = || Finished { broken: vec![anyhow!("no boot")], ..Finished::default() };
        for (finished, code) in [
            (run(CaseEnd::Passed), bisect_code::GOOD),
            (run(CaseEnd::Failed), bisect_code::BAD),
            (run(CaseEnd::Panicked), bisect_code::BAD),
            (run(CaseEnd::Skipped), bisect_code::SKIP),
            (run(CaseEnd::NotRun), bisect_code::SKIP),
            (boots(), bisect_code::SKIP),
            (Finished { guests_failed: true, ..run(CaseEnd::Passed) }, bisect_code::SKIP),
            (Finished { interrupted: true, ..run(CaseEnd::Failed) }, cancel::EXIT_CODE),
        ] {
            assert_eq!(of_bisect(&finished), code, "{finished:?}");
        }
        // A kernel that does not build is said last, as ever.
        let broken = Finished { broken: vec![anyhow!("make failed")], ..run(CaseEnd::Failed) };
        assert!(outcome(broken, [Ok(()), Ok(())]).1.is_err());
        assert_eq!(outcome(run(CaseEnd::Passed), [Ok(()), Ok(())]).1.unwrap(), 0);
    }
}
