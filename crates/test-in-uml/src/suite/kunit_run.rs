//! Unit tests of a kernel are run: a guest for each suite, whose boot is the run. What its log says between two results is charged
//! to the test that ends with the second; a guest that dies costs the test that ran.

use anyhow::Result;
use uml_protocol::marker::Expectation;

use super::kunit::{self, KunitTest, Results};
use super::note::Note;
use super::plan::Target;
use super::seat::word_of;
use super::session::RunSession;
use crate::guest::Gone;
use crate::record::GuestLine;
use crate::stage::Share;

mod boot;
mod judge;
mod listing;

use boot::{Asked, Boot};
use judge::{Evidence, Judged};
pub use listing::kunit_tests;

/// Runs tests of one suite in a guest of their own.
///
/// # Errors
/// When there is no guest that gets as far as that suite, or the user asks us to stop.
pub(super) fn run_suite(
    session: &RunSession<'_>,
    target: &Target,
    share: Share,
    tests: &[KunitTest],
) -> Result<Judged> {
    let config = &session.ctx.config;
    let count = u32::try_from(tests.len()).unwrap_or(u32::MAX);
    let asked = Asked {
        arguments: &kunit::arguments_to_run(tests),
        share,
        limit: config.boot_timeout.saturating_add(config.case_timeout.saturating_mul(count)),
        cancel: &session.cases,
    };
    let (name, began) = (target.next_name(), session.elapsed());
    let Boot { log, end } = Boot::of(session.power(), target, &name, &asked)?;
    let suite = tests.first().map_or("", |test| &test.suite);
    let results = Results::read(log, suite);
    let (ready_after, gone) = match end {
        Ok((ready_after, gone)) => (Some(ready_after), gone),
        // It did not come as far as the tests: they cannot be charged.
        Err(failed) if !results.begun => return Err((*failed).into()),
        Err(failed) => (None, Gone { end: failed.end, strays: Vec::new(), leaks: Vec::new() }),
    };
    if let Some(after) = ready_after {
        session.tell(Note::Booted { guest: name.clone(), after });
    }
    let known = config.kernels.get(&target.kernel.name);
    let known = known.map_or(&[][..], |kernel| &kernel.known_boot_complaints);
    let known: Vec<_> = known.iter().cloned().map(Expectation::Message).collect();
    let death = ready_after.is_none().then_some(&gone.end);
    let guest = name.as_str();
    let judged = Evidence { results, known: &known, death, gone: &gone, guest, began }.judge(tests);
    session.tell(Note::GuestEnded(GuestLine {
        guest: name.clone(),
        kernel: target.kernel.name.clone(),
        cpu: share.cpu,
        booted: Some(began.as_secs_f64()),
        ready: ready_after.map(|after| (began + after).as_secs_f64()),
        ended: Some(session.elapsed().as_secs_f64()),
        cases: u32::try_from(judged.verdicts.len()).unwrap_or(u32::MAX),
        end: word_of(&gone.end),
        detail: gone.end.detail().into(),
        charged: death.is_some(),
        last_case: judged.verdicts.last().map(|(test, _)| test.name().to_string()),
        strays: judged.strays.iter().map(ToString::to_string).collect(),
    }));
    Ok(judged)
}
