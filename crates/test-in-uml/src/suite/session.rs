//! What all threads of a run share.

use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::case_name::CaseName;
use super::known::KnownFailures;
use super::note::Note;
use super::plan::{Plan, Target};
use super::power_on::Power;
use super::queue::Queue;
use crate::cancel::CancelToken;
use crate::ctx::Ctx;
use crate::guest::GuestHost;
use crate::host::memory_left;
use crate::lab::{Capture, Turns};

/// What all threads of a run share.
pub(super) struct RunSession<'a> {
    pub ctx: &'a Ctx,
    pub host: &'a dyn GuestHost,
    pub plan: &'a Plan<'a>,
    pub started: Instant,
    /// Which failures are known.
    pub known: KnownFailures<'a>,
    /// What is left to run.
    pub queue: Queue<Target>,
    /// Ends the cases that run.
    pub cases: CancelToken,
    /// Ends the kernel that is being built.
    pub builds: CancelToken,
    /// Which case may have guests beside its own.
    pub turns: Turns,
    /// To whoever called the run.
    pub notes: Sender<Note>,
}

impl<'a> RunSession<'a> {
    /// One that begins now; `notes` is told what happens in it.
    pub fn new(
        ctx: &'a Ctx,
        host: &'a dyn GuestHost,
        plan: &'a Plan<'a>,
        known: KnownFailures<'a>,
        notes: Sender<Note>,
    ) -> Self {
        Self {
            ctx,
            host,
            plan,
            started: Instant::now(),
            known,
            queue: Queue::new(&plan.lanes),
            cases: CancelToken::default(),
            builds: CancelToken::default(),
            turns: Turns::of_memory(memory_left().unwrap_or(u64::MAX), ctx.config.memory.bytes()),
            notes,
        }
    }

    /// Since the run began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What its guests are switched on with.
    pub fn power(&self) -> Power<'a> {
        let Plan { image, init, ref append, .. } = *self.plan;
        Power { ctx: self.ctx, host: self.host, image, init, append }
    }

    pub fn tell(&self, note: Note) {
        // Who does not listen any more has failed, and says so.
        let _ = self.notes.send(note);
    }

    /// Keeps what passed in a network of a case's scenario; says where.
    pub fn keep_capture(
        &self,
        case: &CaseName,
        attempt: u32,
        network: &str,
        capture: &Capture,
    ) -> Result<PathBuf> {
        let path = self.ctx.run()?.capture(&format!("{} {attempt} {network}", case));
        capture.write(&path, network).map(|()| path)
    }

    /// Has nothing new begin; what runs goes on.
    pub fn stop(&self, why: &str) {
        self.queue.stop(why);
        self.builds.cancel();
    }
}
