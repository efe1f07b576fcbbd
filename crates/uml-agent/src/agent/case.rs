//! One case: its process, its output, its time, and what it leaves behind.
//!
//! Each system call of the agent stops its guest twice on the host, so that what is the same for all
//! cases is made once.

use std::fs::File;
use std::io::BufReader;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use nix::time::clock_gettime;
use uml_protocol::marker::Event;
use uml_protocol::wire::{self, Exit, Leftover, ProcessEnd, Run, ToHost, add_frame, send_frames};

use crate::case_dir::{CaseDir, Said};
use crate::file_systems;
use crate::injection::Injected;
use crate::leftovers::{Changes, Watch};
use crate::lost_memory::LostMemory;
use crate::package_files::PackageFiles;
use crate::programs::Programs;
use crate::{Log, Role};

mod running;

use running::Case;

/// How much of a case's output goes into one message, in bytes.
const PIECE: usize = 64 << 10;

/// What runs cases, one after the other.
pub struct Cases {
    role: Role,
    null: OwnedFd,
    children: SignalFd,
    timer: TimerFd,
    buffer: Vec<u8>,
    watch: Watch,
    memory: LostMemory,
    packages: PackageFiles,
    mke2fs: Option<&'static str>,
    /// Messages that go to the host with the next one: each call of the kernel counts.
    frames: Vec<u8>,
}

impl Cases {
    pub fn new(role: Role) -> Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().context("cannot block SIGCHLD")?;
        let children = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("cannot wait for SIGCHLD")?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)
            .context("cannot make a timer")?;
        let null = File::open("/dev/null").context("cannot open /dev/null")?.into();
        let watch = Watch::new(role)?;
        let buffer = vec![0; PIECE];
        let (memory, frames) = (LostMemory::default(), Vec::new());
        let packages = PackageFiles::new()?;
        let mke2fs = file_systems::configuration();
        Ok(Self { role, null, children, timer, buffer, watch, memory, packages, mke2fs, frames })
    }

    /// Runs a case between its two markers.
    pub fn run(
        &mut self,
        run: &Run,
        programs: &mut Programs,
        host: Host<'_>,
        log: &mut Log,
    ) -> Result<Exit> {
        if let Some(folder) = &run.package {
            self.packages.provide(folder, programs)?;
        }
        if let Some(called) = &run.called {
            self.packages.place_program(called, &run.program, programs)?;
        }
        if !run.links.is_empty() {
            self.packages.link(&run.links)?;
        }
        programs.settle()?;
        self.watch.begin()?;
        let dir = CaseDir::make(run.sequence)?;
        log.mark_and_read(Event::Begin(run.sequence), &mut self.frames)?;
        let started = since_the_kernel_started()?;
        let injected = Injected::begin(&run.injections)?;
        let mut case = Case::start(self, run, &dir, host)?;
        let end = case.wait(run.timeout, log)?;
        let ended = since_the_kernel_started()?;
        let duration = ended.saturating_sub(started);
        let pid = case.pid.as_raw();
        if run.leave {
            case.drain_what_is_there(log)?;
            let sequence = run.sequence;
            let Said { skip, word } = dir.remove();
            log.mark_and_read(Event::End(sequence), &mut self.frames)?;
            return Ok(Exit::plain(sequence, end, duration, skip, word));
        }
        if end == ProcessEnd::TimedOut && !run.lasts {
            case.say_where_it_is(log)?;
        }
        let mut leftovers = case.cases.watch.end_processes()?;
        if end == ProcessEnd::TimedOut && run.lasts {
            // It left none: they were to go on until now.
            leftovers.clear();
        }
        drop(injected);
        leftovers.extend(std::mem::take(&mut case.stuck).into_iter().map(Leftover::Stuck));
        case.drain(log)?;
        let Changes { leftovers: changed, loaded } = self.watch.end_changes(&self.packages)?;
        leftovers.extend(changed);
        leftovers.extend(self.watch.modules()?);
        leftovers.extend(self.watch.end_clock());
        leftovers.extend(programs.changed());
        let tainted = self.watch.tainted()?;
        let Said { skip, word } = dir.remove();
        leftovers.extend(self.watch.taken());
        log.mark_and_read(Event::End(run.sequence), &mut self.frames)?;
        self.memory.note(run.sequence, pid, (started, ended));
        let leaks = if log.take_said_leaks() { Some(self.memory.found()?) } else { None };
        let sequence = run.sequence;
        Ok(Exit { sequence, end, duration, skip, leftovers, loaded, tainted, word, leaks })
    }

    /// Has what cases lose of the kernel's memory looked for at the guest's end.
    pub fn watch_memory(&mut self) -> Result<()> {
        self.memory.watch()
    }

    /// Tells the host what the cases lost of the kernel's memory, if that can be known.
    pub fn tell_leaks(&mut self, host: &mut TcpStream) -> Result<()> {
        if self.memory.is_worth_a_search() {
            self.send(host, &ToHost::SearchesForLeaks)?;
            let leaks = self.memory.search()?;
            self.send(host, &ToHost::Leaks(leaks))?;
        }
        Ok(())
    }

    /// Sends the host a message, after those that wait.
    pub fn send(&mut self, host: &mut TcpStream, message: &ToHost) -> Result<(), wire::Error> {
        add_frame(&mut self.frames, message)?;
        self.send_waiting(host)
    }

    fn send_waiting(&mut self, host: &mut TcpStream) -> Result<(), wire::Error> {
        let sent = send_frames(host, &self.frames);
        self.frames.clear();
        sent
    }
}

/// The connection with the host, both ways.
pub struct Host<'a> {
    pub stream: &'a mut TcpStream,
    pub requests: &'a mut BufReader<TcpStream>,
}

/// By the clock that kmemleak's notes are compared with.
fn since_the_kernel_started() -> Result<Duration> {
    let time = clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).context("no clock")?;
    Ok(time.into())
}
