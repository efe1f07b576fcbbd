//! `--replay RUN/CASE --shrink`: which of the cases before it a case needs to fail.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use crate::cancel::{CancelToken, Interrupted};
use crate::ctx::Ctx;
use crate::record::CaseLine;
use crate::stage::Stage;
use crate::suite::{self, Job, Lane, Note, Observer, Plan, Target};

/// Keeps how the case of that name ended last.
#[derive(Debug)]
struct Last<'a> {
    name: &'a str,
    line: Option<CaseLine>,
}

impl Observer for Last<'_> {
    fn note(&mut self, note: &Note) {
        if let Note::Ended(line) = note
            && line.full_name() == self.name
        {
            self.line = Some(CaseLine::clone(line));
        }
    }

    fn tick(&mut self) {}
}

/// The lane of a plan with the smallest part of what comes before its last case after which that fails as it does after all of it.
///
/// # Errors
/// When it does not fail after all of it, or the user asks us to stop.
pub(super) fn shrunk(
    ctx: &Ctx,
    stage: &Stage,
    plan: &Plan<'_>,
    make: impl Fn(usize, &CancelToken) -> Result<Arc<Target>> + Sync,
) -> Result<Lane> {
    let lane = plan.lanes.first().context("there is nothing to be shrunk")?;
    let (last, before) = lane.jobs.split_last().context("there is nothing to be shrunk")?;
    let name = last.work.names().pop().context("a job has a case")?.to_string();
    let lane_of = |jobs: &[Job]| Lane {
        name: lane.name.clone(),
        jobs: jobs.iter().chain([last]).cloned().collect(),
    };
    // How it ends: the word, and the name of what its kernel complained of.
    let end_after = |jobs: &[Job]| -> Result<_> {
        let plan = Plan { lanes: vec![lane_of(jobs)], ..plan.clone() };
        let mut observer = Last { name: &name, line: None };
        let finished = suite::run(ctx, stage, &plan, &make, &mut observer)?;
        ensure!(!finished.interrupted, Interrupted);
        if let Some(broken) = finished.broken.into_iter().next() {
            return Err(broken);
        }
        let CaseLine { end, complaint, detail, .. } = observer.line.context("it has no end")?;
        ctx.ui.say(&format!("{:>12} after {} others: {}", "shrink", jobs.len(), end.word()));
        Ok((end, complaint, detail))
    };
    let (end, complaint, detail) = end_after(before)?;
    ensure!(
        end.is_failure(),
        "{name} does not fail after the {} cases that it had failed after ({}): there is nothing to shrink{}",
        before.len(),
        end.word(),
        if detail.is_empty() { detail } else { format!("; {detail}") }
    );
    let fails = |jobs: &[Job]| -> Result<bool> {
        let (now, its_complaint, _) = end_after(jobs)?;
        Ok(now == end && its_complaint == complaint)
    };
    let needed = suite::smallest(before, fails)?;
    let (needs, of) = (needed.len(), before.len());
    let again = format!("--replay 'latest/{name}'");
    ctx.ui
        .say(&format!("{:>12} {needs} of {of} are needed; {again} repeats what follows", "shrink"));
    Ok(lane_of(&needed))
}
