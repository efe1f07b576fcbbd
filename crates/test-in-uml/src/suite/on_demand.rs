//! Test processes of others, which come one by one, each run in the next guest that is free.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use uml_protocol::wire::{Stream, receive, send};

use super::binary_case::{BinaryCase, OfSuite, OpenBinary};
use super::known::KnownFailures;
use super::note::Note;
use super::packages::Packages;
use super::plan::{Plan, Target};
use super::programs::Rules;
use super::seat::{Retire, Seat};
use super::session::RunSession;
use super::verdict::{Outcome, Verdict};
use super::word::Word;
use crate::cancel::{CancelToken, Interrupted};
use crate::config::ResultBy;
use crate::ctx::Ctx;
use crate::guest::{GuestHost, Sink};
use crate::runner::{Reply, Request};
use crate::stage::Share;
use crate::threads;

mod binary;

use binary::Binary;

/// Who asks says itself how long it waits.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// What runs the processes.
pub struct OnDemand<'a> {
    ctx: &'a Ctx,
    host: &'a dyn GuestHost,
    plan: &'a Plan<'a>,
    target: Arc<Target>,
    packages: Packages,
    binaries: Mutex<HashMap<Stamp, Arc<Binary>>>,
    served: Mutex<Served>,
}

/// What was run so far.
#[derive(Debug, Default)]
pub struct Served {
    /// The number of processes.
    pub processes: usize,
    /// What is wrong beside them.
    pub troubles: Vec<String>,
}

/// A file as it is now: where it is, when it was changed, and its size.
type Stamp = (PathBuf, i64, i64, u64);

impl<'a> OnDemand<'a> {
    /// Runs processes on this kernel; those of packages at `root` find the packages' files.
    ///
    /// # Errors
    /// When the packages cannot be read.
    pub fn new(
        ctx: &'a Ctx,
        host: &'a dyn GuestHost,
        plan: &'a Plan<'a>,
        target: Arc<Target>,
        packages: &cargo_metadata::Metadata,
    ) -> Result<Self> {
        let packages = Packages::of_workspace(ctx, packages)?;
        let (binaries, served) = (Mutex::default(), Mutex::default());
        Ok(Self { ctx, host, plan, target, packages, binaries, served })
    }

    /// Runs what comes, in as many guests as the plan has seats, until no more can come.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn serve(&self, inbox: Receiver<UnixStream>) -> Result<Served> {
        let inbox = Mutex::new(inbox);
        std::thread::scope(|scope| -> Result<()> {
            for share in Share::of_guests(self.plan.seats) {
                let inbox = &inbox;
                threads::spawn_in(scope, move || while self.serve_until_given_up(share, inbox) {})?;
            }
            Ok(())
        })?;
        Ok(std::mem::take(&mut *self.served()))
    }

    fn served(&self) -> std::sync::MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self, what: String) {
        self.served().troubles.push(what);
    }

    /// Runs what comes until one is given up, whose guest is ended with it; false if no more can come.
    fn serve_until_given_up(&self, share: Share, inbox: &Mutex<Receiver<UnixStream>>) -> bool {
        let (notes, told) = channel();
        let known = KnownFailures::none();
        let session = RunSession::new(self.ctx, self.host, self.plan, known, notes);
        let mut seat = Seat::new(&session, share);
        let goes_on = loop {
            let next = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(stream) = next else { break false };
            if let Err(error) = self.answer(&session, &mut seat, stream) {
                if !error.is::<Interrupted>() {
                    self.trouble(format!("{error:#}"));
                }
                break true;
            }
        };
        let how = if goes_on { Retire::Drop } else { Retire::SwitchOff };
        match seat.retire(how) {
            Err(error) if !error.is::<Interrupted>() => self.trouble(format!("{error:#}")),
            _ => {}
        }
        for note in told.try_iter() {
            if let Note::GuestEnded(guest) = note {
                let troubles = guest.troubles().into_iter();
                troubles.for_each(|what| self.trouble(format!("{}: {what}", guest.guest)));
            }
        }
        goes_on
    }

    /// Runs a process for whoever asks on this connection; fails when it is given up.
    fn answer(
        &self,
        session: &RunSession<'_>,
        seat: &mut Seat<'_>,
        mut stream: UnixStream,
    ) -> Result<()> {
        // Who is gone before asking wants nothing.
        let Ok(Some(request)) = receive::<Request>(&mut stream) else { return Ok(()) };
        let case = match self.case(request) {
            Ok(case) => case,
            Err(error) => {
                let failure = Some(format!("{error:#}"));
                let _ = send(&mut stream, &Reply::Ended { end: None, failure });
                return Ok(());
            }
        };
        self.served().processes += 1;
        let watched = stream.try_clone().context("cannot watch a connection")?;
        let (out, is_over) = (Mutex::new(&stream), AtomicBool::new(false));
        let tell = |which: Stream, bytes: &[u8]| {
            let reply = Reply::Output { stream: which, bytes: bytes.to_vec() };
            // Whoever does not listen any more is gone, which is seen elsewhere.
            let _ = send(&mut *out.lock().unwrap_or_else(PoisonError::into_inner), &reply);
        };
        let ran = std::thread::scope(|scope| {
            threads::spawn_in(scope, || watch(&watched, &is_over, &session.cases))?;
            let ran = seat.run(&self.target, &case, 1, Some(Sink(&tell)));
            is_over.store(true, Ordering::SeqCst);
            let _ = watched.shutdown(Shutdown::Read);
            ran
        });
        let reply = match &ran {
            Ok(verdict) => Reply::Ended { end: verdict.ended, failure: failure_of(verdict) },
            Err(error) => Reply::Ended { end: None, failure: Some(format!("{error:#}")) },
        };
        let _ = send(&mut &stream, &reply);
        ran.map(drop)
    }

    fn case(&self, request: Request) -> Result<BinaryCase> {
        let Request { program, args, dir, env } = request;
        let path = Path::new(&program);
        let name =
            path.file_stem().map_or("test".into(), |name| name.to_string_lossy().into_owned());
        let known = self.binary(path)?;
        let mut package = self.packages.folder_at(&dir);
        if let Some(package) = &mut package {
            package.programs.clone_from(&known.others);
        }
        let of_suite = OfSuite {
            called: None,
            links: if package.is_some() { known.links.clone() } else { Vec::new() },
            environment: env,
            arguments: args,
            rules: Rules::new(ResultBy::ExitCode, Some(Vec::new())),
            timeout: Some(PATIENCE),
            apart: false,
            kernel: None,
            needs: Vec::new(),
        };
        let binary = OpenBinary {
            name,
            program: Arc::clone(&known.program),
            package,
            word: Word::ExitCode,
            listed: 1,
            of_suite: Some(of_suite),
        };
        Ok(BinaryCase { binary: Arc::new(binary), test: dir, ignored: false })
    }

    /// The program, which is read once as long as it is not changed.
    fn binary(&self, path: &Path) -> Result<Arc<Binary>> {
        let about =
            fs::metadata(path).with_context(|| format!("cannot open {}", path.display()))?;
        let stamp = (path.to_owned(), about.mtime(), about.mtime_nsec(), about.size());
        let mut binaries = self.binaries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(binary) = binaries.get(&stamp) {
            return Ok(Arc::clone(binary));
        }
        let binary = Arc::new(Binary::open(path)?);
        binaries.insert(stamp, Arc::clone(&binary));
        Ok(binary)
    }
}

/// Gives a process up when whoever asked for it is gone.
fn watch(mut stream: &UnixStream, is_over: &AtomicBool, process: &CancelToken) {
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // We have shut it ourselves, or they.
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    if !is_over.load(Ordering::SeqCst) {
        process.cancel();
    }
}

/// What is to be said of a process beside its own end, if it is a failure for that.
fn failure_of(verdict: &Verdict) -> Option<String> {
    match &verdict.outcome {
        Outcome::Passed | Outcome::Failed(_) | Outcome::Skipped(_) => return None,
        _ => {}
    }
    let mut text = format!("{}: {}", verdict.outcome.end().label(), verdict.detail());
    for line in &verdict.log {
        text += "\n| ";
        text += line;
    }
    Some(text)
}
