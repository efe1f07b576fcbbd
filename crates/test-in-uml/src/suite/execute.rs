//! What a seat does with a job: its cases are run, again if they may be, and told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::binary_case::BinaryCase;
use super::case_line::case_line;
use super::case_name::CaseName;
use super::inject::Inject;
use super::kunit::{self, KunitTest};
use super::kunit_run::run_suite;
use super::note::Note;
use super::plan::{AfterFailure, Job, Reuse, Target, Work};
use super::queue::Taken;
use super::seat::{Retire, Seat};
use super::session::RunSession;
use super::verdict::{Outcome, Verdict};
use super::wants::lacking;
use crate::cancel::Interrupted;

/// Parts with the guest of a seat, if there is one.
pub(super) fn release_guest(session: &RunSession<'_>, seat: &mut Seat<'_>, how: Retire) {
    let parted = match session.cases.check() {
        Ok(()) => seat.retire(how),
        Err(_) => seat.retire(Retire::Drop),
    };
    match parted {
        Err(error) if !error.is::<Interrupted>() => session.tell(Note::Broken(error)),
        _ => {}
    }
}

/// Runs a job, and again what of it fails and may be tried again.
pub(super) fn execute(
    session: &RunSession<'_>,
    number: usize,
    seat: &mut Seat<'_>,
    taken: Taken<Target>,
) {
    let Taken { lane, target, job: Job { work, repetition } } = taken;
    let at = At { number, lane, target: &target, repetition };
    match work {
        Work::Case(case) => execute_case(session, seat, &at, &case),
        Work::Kunit(tests) => execute_kunit(session, seat, &at, tests),
    }
}

/// Where something is run.
struct At<'t> {
    /// The number of the seat.
    number: usize,
    lane: usize,
    target: &'t Arc<Target>,
    repetition: u32,
}

impl At<'_> {
    fn began(&self, session: &RunSession<'_>, case: String) {
        let kernel = self.target.kernel.name.clone();
        session.tell(Note::Began { seat: self.number, kernel, case });
    }
}

fn execute_case(session: &RunSession<'_>, seat: &mut Seat<'_>, at: &At<'_>, case: &BinaryCase) {
    let kernel = &at.target.kernel;
    let mut needs = session.plan.inject.iter().flat_map(Inject::needs);
    let lacks = case.lacks(kernel).or_else(|| needs.find(|symbol| !kernel.has(symbol)));
    if let Some(symbol) = lacks {
        let outcome = Outcome::Skipped(lacking(symbol));
        let verdict = Verdict { outcome, ..Verdict::not_run("") };
        conclude(session, at, case.name(), 1, (session.elapsed(), verdict));
        return;
    }
    let mut attempt = 1;
    loop {
        let apart = session.plan.reuse == Reuse::Never || is_apart(session, case);
        if ((attempt > 1 || apart) && seat.is_used()) || seat.is_spoilt() {
            release_guest(session, seat, Retire::SwitchOff);
        }
        at.began(session, case.name().to_string());
        let asked = session.elapsed();
        let ran = seat.run(at.target, case, attempt, None);
        let verdict =
            ran.unwrap_or_else(|error| Verdict::not_run(&give_up(session, at.lane, error)));
        // How the case went is told first: the end of a guest may take its time.
        if conclude(session, at, case.name(), attempt, (asked, verdict)) == Next::Again {
            attempt += 1;
            continue;
        }
        if (apart && seat.is_used()) || seat.is_spoilt() {
            session.tell(Note::Idle(at.number));
            release_guest(session, seat, Retire::SwitchOff);
        }
        return;
    }
}

/// Runs unit tests of one suite: all in one guest, then each in one of its own that the first did not live to run, or that failed
/// and may be tried again.
fn execute_kunit(
    session: &RunSession<'_>,
    seat: &mut Seat<'_>,
    at: &At<'_>,
    tests: Vec<KunitTest>,
) {
    release_guest(session, seat, Retire::SwitchOff);
    let mut left = VecDeque::from([(tests, 1)]);
    while let Some((tests, attempt)) = left.pop_front() {
        at.began(session, kunit::name_of(&tests));
        let asked = session.elapsed();
        let ran = match session.queue.stopped() {
            Some(why) => Err(why),
            None => run_suite(session, at.target, seat.share(), &tests)
                .map_err(|error| give_up(session, at.lane, error)),
        };
        let (verdicts, unreached) = match ran {
            Ok(judged) => (judged.verdicts, judged.unreached),
            Err(why) => {
                let not_run = |test: &KunitTest| (test.clone(), Verdict::not_run(&why));
                (tests.iter().map(not_run).collect(), Vec::new())
            }
        };
        left.extend(unreached.into_iter().map(|test| (vec![test], attempt)));
        for (test, verdict) in verdicts {
            let next = conclude(session, at, test.name(), attempt, (asked, verdict));
            if next == Next::Again {
                left.push_back((vec![test], attempt + 1));
            }
        }
    }
}

/// What comes after an attempt at a case.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Another one.
    Again,
    /// No more of it.
    Over,
}

/// Tells how an attempt ended that was asked for at this time, and what comes after it.
fn conclude(
    session: &RunSession<'_>,
    at: &At<'_>,
    name: CaseName,
    attempt: u32,
    (asked, mut verdict): (Duration, Verdict),
) -> Next {
    let plan = session.plan;
    session.known.apply(&at.target.kernel.name, &name, &mut verdict);
    let (failed, starved) = (verdict.outcome.is_failure(), verdict.starved);
    let started = verdict.place.as_ref().map_or(asked, |place| place.began);
    let kernel = &at.target.kernel.name;
    let line = Box::new(case_line(kernel, name, at.repetition, attempt, started, verdict));
    let tries = if starved { plan.retries.max(MOST_FOR_STARVED) } else { plan.retries };
    if failed && attempt <= tries && session.queue.stopped().is_none() {
        session.tell(Note::Again(line));
        return Next::Again;
    }
    if failed && plan.after_failure == AfterFailure::Stop {
        session.stop(FAIL_FAST);
    }
    session.tell(Note::Ended(line));
    Next::Over
}

/// How often a case is run again whose kernel complained of time that the host did not give it.
const MOST_FOR_STARVED: u32 = 2;

/// Why cases are not begun after another has failed.
pub const FAIL_FAST: &str = "a case failed (--no-fail-fast goes on)";

/// Returns true if a case is one of those that share no guest.
fn is_apart(session: &RunSession<'_>, case: &BinaryCase) -> bool {
    let name = case.name().to_string();
    let of_suite = case.binary.of_suite.as_ref();
    of_suite.is_some_and(|of_suite| of_suite.apart)
        || session.ctx.config.tests.fresh.iter().any(|word| name.contains(word))
}

/// Why a case is not run for which there was no guest to the end.
fn give_up(session: &RunSession<'_>, lane: usize, error: anyhow::Error) -> String {
    if error.is::<Interrupted>() {
        session.stop("interrupted");
        return session.queue.stopped().unwrap_or_default();
    }
    let why = "there was no guest for it";
    session.queue.close(lane, why);
    session.tell(Note::Broken(error));
    why.into()
}
