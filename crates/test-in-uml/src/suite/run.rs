//! A run: kernels are built one after another, while guests of those that are ready run cases.
//!
//! Each seat is a thread with a guest; one more thread builds kernels. All of them tell the thread
//! that called us what happens, which alone reports it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::case_line::case_line;
use super::execute::{execute, release_guest};
use super::known::KnownFailures;
use super::note::{Note, Observer};
use super::plan::{Job, Lane, Plan, Target};
use super::seat::{Retire, Seat};
use super::session::RunSession;
use super::verdict::Verdict;
use super::wants::symbols;
use crate::cancel::{self, CancelToken, Interrupted};
use crate::ctx::Ctx;
use crate::guest::GuestHost;
use crate::record::{CaseEnd, Tally};
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
    /// The symbols of kernels' configurations for want of which cases were skipped, each with their number.
    pub wants: BTreeMap<String, usize>,
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
    make: impl Fn(usize, &CancelToken) -> Result<Arc<Target>> + Sync,
    observer: &mut impl Observer,
) -> Result<Finished> {
    // The folder is there before any two threads ask for it.
    ctx.run()?;
    let (notes, inbox) = channel();
    let session = RunSession::new(ctx, host, plan, KnownFailures::of(&ctx.config)?, notes);
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
    for (kernel, Job { work, repetition }, why) in session.queue.rest() {
        for name in work.names() {
            let verdict = Verdict::not_run(&why);
            let line = case_line(&kernel, name, repetition, 1, session.elapsed(), verdict);
            let note = Note::Ended(line.into());
            finished.count(&note);
            observer.note(&note);
        }
    }
    let listed: usize = plan.lanes.iter().map(Lane::cases).sum();
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
            Note::Ended(case) => {
                self.tally.count(case.end, case.flaky);
                if case.end == CaseEnd::Skipped {
                    for symbol in symbols(&case.detail) {
                        *self.wants.entry(symbol.into()).or_default() += 1;
                    }
                }
            }
            Note::GuestEnded(guest) => self.guests_failed |= guest.is_failure(),
            _ => {}
        }
    }
}

/// Builds the kernels, one after another.
fn build(session: &RunSession<'_>, make: &impl Fn(usize, &CancelToken) -> Result<Arc<Target>>) {
    for lane in 0..session.plan.lanes.len() {
        if session.queue.stopped().is_some() {
            return;
        }
        match make(lane, &session.builds) {
            Ok(target) => {
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
