//! A run: kernels are built one after another, while guests of those that are ready run cases.
//!
//! Each seat is a thread with a guest; one more thread builds kernels. All of them tell the thread
//! that called us what happens, which alone reports it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::case_line::case_line;
use super::note::{Note, Observer};
use super::plan::Job;
use super::plan::{AfterFailure, Plan, Reuse, Target};
use super::queue::{Queue, Taken};
use super::seat::{Retire, Seat};
use super::session::RunSession;
use super::verdict::Verdict;
use crate::cancel::{self, CancelToken, Interrupted};
use crate::ctx::Ctx;
use crate::guest::GuestHost;
use crate::host::memory_left;
use crate::lab::Turns;
use crate::record::Tally;
use crate::stage::Share;
use crate::threads;

#[cfg(test)]
mod tests;

/// A run that is over.
#[derive(Debug, Default)]
pub struct Finished {
    /// How the cases ended.
    pub tally: Tally,
    /// True if a guest failed while it ran no case.
    pub guests_failed: bool,
    /// True if the user asked us to stop.
    pub interrupted: bool,
    /// Why there was no kernel or no guest for some cases.
    pub broken: Vec<anyhow::Error>,
}

/// Runs the plan. `make` gives the kernel of the lane with that number, and is called for one after
/// another. Call this on the main thread.
///
/// # Errors
/// When no thread can be started.
pub fn run(
    ctx: &Ctx,
    host: &dyn GuestHost,
    plan: &Plan<'_>,
    make: impl Fn(usize, &CancelToken) -> Result<Target> + Sync,
    observer: &mut impl Observer,
) -> Result<Finished> {
    // The folder is there before any two threads ask for it.
    ctx.run()?;
    let (notes, inbox) = channel();
    let session = RunSession {
        ctx,
        host,
        plan,
        started: Instant::now(),
        queue: Queue::new(&plan.lanes),
        cases: CancelToken::default(),
        builds: CancelToken::default(),
        turns: Turns::of_memory(memory_left().unwrap_or(u64::MAX), ctx.config.memory.bytes()),
        notes,
    };
    let mut finished = std::thread::scope(|scope| {
        let mut work = || -> Result<Finished> {
            let builder = || build(&session, &make);
            let mut threads = vec![threads::spawn_in(scope, builder)?];
            for (number, share) in Share::of_guests(plan.seats).into_iter().enumerate() {
                let (session, seat) = (&session, Seat::new(&session, share));
                let sits = move || seat_loop(session, number, seat);
                threads.push(threads::spawn_in(scope, sits)?);
            }
            let is_over = || threads.iter().all(|thread| thread.is_finished());
            listen(&session, &inbox, observer, is_over)
        };
        // Who failed must not leave the others waiting: the scope ends with the last of them.
        work().inspect_err(|_| {
            session.stop("the run cannot go on");
            session.cases.cancel();
        })
    })?;
    for (kernel, job, why) in session.queue.rest() {
        let verdict = Verdict::not_run(&why);
        let note = Note::Ended(case_line(&kernel, &job, 1, session.elapsed(), verdict).into());
        finished.count(&note);
        observer.note(&note);
    }
    let listed: usize = plan.lanes.iter().map(|lane| lane.jobs.len()).sum();
    ensure!(finished.tally.listed() == listed, "a case was lost: this is a bug of ours");
    Ok(finished)
}

/// How often a run that is silent looks at the clock, and at the user.
const TICK: Duration = Duration::from_millis(100);

/// Reports what the threads tell until they are over.
fn listen(
    session: &RunSession<'_>,
    inbox: &Receiver<Note>,
    observer: &mut impl Observer,
    is_over: impl Fn() -> bool,
) -> Result<Finished> {
    let mut finished = Finished::default();
    loop {
        // Asked first: what the last thread told before it was over is still read then.
        let over = is_over();
        match inbox.recv_timeout(if over { Duration::ZERO } else { TICK }) {
            Ok(note) => {
                finished.count(&note);
                observer.note(&note);
                if let Note::Broken(error) = note {
                    finished.broken.push(error);
                }
            }
            Err(RecvTimeoutError::Timeout) if !over => {}
            Err(_) => return Ok(finished),
        }
        observer.tick();
        if cancel::requested() && !finished.interrupted {
            finished.interrupted = true;
            session.stop("interrupted");
        }
        let late = session.plan.deadline.is_some_and(|deadline| session.elapsed() >= deadline);
        if late && session.queue.stopped().is_none() {
            session.stop("the time of the run is over (--deadline)");
            session.cases.cancel();
        }
    }
}

impl Finished {
    fn count(&mut self, note: &Note) {
        match note {
            Note::Ended(case) => self.tally.count(case.end, case.flaky),
            Note::GuestEnded(guest) => self.guests_failed |= guest.is_failure(),
            _ => {}
        }
    }
}

/// Builds the kernels, one after another.
fn build(session: &RunSession<'_>, make: &impl Fn(usize, &CancelToken) -> Result<Target>) {
    for lane in 0..session.plan.lanes.len() {
        if session.queue.stopped().is_some() {
            return;
        }
        match make(lane, &session.builds) {
            Ok(target) => {
                let target = Arc::new(target);
                session.tell(Note::Ready(Arc::clone(&target)));
                session.queue.open(lane, &target.kernel.name, Arc::clone(&target));
            }
            Err(error) if error.is::<Interrupted>() => return,
            Err(error) => {
                session.queue.close(lane, "there was no kernel for it");
                session.tell(Note::Broken(error));
            }
        }
    }
}

/// What a seat does from the run's beginning to its end.
fn seat_loop<'a>(session: &'a RunSession<'a>, number: usize, mut seat: Seat<'a>) {
    let mut lane = None;
    loop {
        let taken = session.queue.take(lane).or_else(|| {
            // Nobody knows how long a kernel takes: its memory is for others meanwhile.
            release_guest(session, &mut seat, Retire::SwitchOff);
            session.tell(Note::Idle(number));
            session.queue.wait(lane)
        });
        let Some(taken) = taken else { break };
        lane = Some(taken.lane);
        execute(session, number, &mut seat, taken);
    }
    release_guest(session, &mut seat, Retire::SwitchOff);
}

/// Parts with the guest of a seat, if there is one.
fn release_guest(session: &RunSession<'_>, seat: &mut Seat<'_>, how: Retire) {
    let parted = match session.cases.check() {
        Ok(()) => seat.retire(how),
        Err(_) => seat.retire(Retire::Drop),
    };
    match parted {
        Err(error) if !error.is::<Interrupted>() => session.tell(Note::Broken(error)),
        _ => {}
    }
}

/// Runs a job, and again if it fails and may be tried again.
fn execute(session: &RunSession<'_>, number: usize, seat: &mut Seat<'_>, taken: Taken<Target>) {
    let Taken { lane, target, job } = taken;
    let plan = session.plan;
    let mut attempt = 1;
    loop {
        let apart = plan.reuse == Reuse::Never || is_apart(session, &job);
        if ((attempt > 1 || apart) && seat.is_used()) || seat.is_spoilt() {
            release_guest(session, seat, Retire::SwitchOff);
        }
        let kernel = target.kernel.name.clone();
        let case = job.case.full_name();
        session.tell(Note::Began { seat: number, kernel: kernel.clone(), case });
        let asked = session.elapsed();
        let ran = seat.run(&target, &job.case, attempt);
        let verdict = ran.unwrap_or_else(|error| give_up(session, lane, error));
        let failed = verdict.outcome.is_failure();
        let starved = verdict.starved;
        let started = verdict.place.as_ref().map_or(asked, |place| place.began);
        let line = Box::new(case_line(&kernel, &job, attempt, started, verdict));
        let tries = if starved { plan.retries.max(MOST_FOR_STARVED) } else { plan.retries };
        if failed && attempt <= tries && session.queue.stopped().is_none() {
            session.tell(Note::Again(line));
            attempt += 1;
            continue;
        }
        if failed && plan.after_failure == AfterFailure::Stop {
            session.stop(FAIL_FAST);
        }
        // How the case went is told first: the end of a guest may take its time.
        session.tell(Note::Ended(line));
        if (apart && seat.is_used()) || seat.is_spoilt() {
            session.tell(Note::Idle(number));
            release_guest(session, seat, Retire::SwitchOff);
        }
        return;
    }
}

/// How often a case is run again whose kernel complained of time that the host did not give it.
const MOST_FOR_STARVED: u32 = 2;

/// Why cases are not begun after another has failed.
pub const FAIL_FAST: &str = "a case failed (--no-fail-fast goes on)";

/// Returns true if a case is one of those that share no guest.
fn is_apart(session: &RunSession<'_>, job: &Job) -> bool {
    let name = job.case.full_name();
    session.ctx.config.tests.fresh.iter().any(|word| name.contains(word))
}

/// A case for which there was no guest to the end.
fn give_up(session: &RunSession<'_>, lane: usize, error: anyhow::Error) -> Verdict {
    if error.is::<Interrupted>() {
        session.stop("interrupted");
        return Verdict::not_run(&session.queue.stopped().unwrap_or_default());
    }
    let why = "there was no guest for it";
    session.queue.close(lane, why);
    session.tell(Note::Broken(error));
    Verdict::not_run(why)
}
