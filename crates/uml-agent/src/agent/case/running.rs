//! A case that runs: everything that may happen meanwhile.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{Expiration, TimerSetTimeFlags};
use nix::unistd::{Pid, pipe2};
use uml_agent::stuck::Looks;
use uml_protocol::wire::{
    self, ProcessEnd, Run, Stream, ToGuest, ToHost, Word, add_frame, send_frames,
};
use uml_protocol::{env, path_of};

use crate::Log;
use crate::case_dir::CaseDir;
use crate::declarations::Declarations;
use crate::file_systems;
use crate::injection;
use crate::processes::reap;
use crate::spawn::Start;

use super::{Cases, Host};

/// A case that runs.
pub(super) struct Case<'a> {
    pub pid: Pid,
    pub cases: &'a mut Cases,
    host: Host<'a>,
    pipes: Vec<(Stream, File)>,
    /// Nothing once the case cannot declare anything any more.
    declarations: Option<Declarations>,
    /// Looks at a process of which nothing is heard.
    looks: Looks,
    /// Threads of it that do not end.
    pub stuck: Vec<String>,
}

/// What happened meanwhile.
struct Turn {
    time_is_over: bool,
    /// Nothing did.
    is_quiet: bool,
    a_child_ended: bool,
}

impl<'a> Case<'a> {
    pub fn start(cases: &'a mut Cases, run: &Run, dir: &CaseDir, host: Host<'a>) -> Result<Self> {
        let (declarations, their_declarations) = Declarations::open()?;
        let (stdout, their_stdout) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
        let (stderr, their_stderr) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
        let standard = [&cases.null, &their_stdout, &their_stderr];
        let program = run.called.as_ref().map_or_else(|| path_of(&run.program), PathBuf::from);
        let work = dir.work();
        let mut args = run.args.clone();
        if run.word == Word::LogFile {
            args.extend(["--logfile".into(), dir.word_file().display().to_string()]);
        }
        let folder = run.package.as_ref().map_or(work, |package| Path::new(&package.path));
        let mut start = Start::new(&program, &args, folder, standard, &their_declarations)?;
        start.env("PATH", env::PATH)?;
        start.env("LANG", "C.UTF-8")?;
        start.env("HOME", work)?;
        start.env("TMPDIR", work)?;
        if let Some(path) = cases.mke2fs {
            start.env(file_systems::VARIABLE, path)?;
        }
        start.env(env::GUEST, "1")?;
        start.env(env::CASE_DIR, work)?;
        start.env(env::SKIP_FILE, dir.skip_file())?;
        start.env(env::DECLARATIONS, their_declarations.as_raw_fd().to_string())?;
        for (name, value) in &run.env {
            start.env(name, value)?;
        }
        if !run.injections.is_empty() {
            start.mark(injection::MARK);
        }
        let pid = start.spawn(cases.role)?;
        let pipes =
            vec![(Stream::Stdout, File::from(stdout)), (Stream::Stderr, File::from(stderr))];
        let declarations = Some(declarations);
        let (looks, stuck) = (Looks::default(), Vec::new());
        Ok(Self { pid, cases, host, pipes, declarations, looks, stuck })
    }

    /// Passes the output on until the process ends or its time is over.
    pub fn wait(&mut self, limit: Duration, log: &mut Log) -> Result<ProcessEnd> {
        self.set_timer(limit)?;
        loop {
            let turn = self.turn(log)?;
            if turn.a_child_ended
                && let Some(status) = self.reap()
            {
                return Ok(end_of(status));
            }
            if turn.is_quiet
                && let Some(over) = self.looks.look(Path::new("/proc"), self.pid.as_raw())
            {
                self.stuck = over.stuck;
                let status = over.status.map(ExitStatus::from_raw);
                return Ok(status.map_or(ProcessEnd::TimedOut, end_of));
            }
            if turn.time_is_over {
                match self.ask_for_more_time()? {
                    Some(more) => self.set_timer(more)?,
                    None => return Ok(ProcessEnd::TimedOut),
                }
            }
        }
    }

    /// Asks the host, which knows how much of the time its CPUs were others', what more there is.
    fn ask_for_more_time(&mut self) -> Result<Option<Duration>> {
        self.cases.send(self.host.stream, &ToHost::TimeIsOver).context("cannot ask for time")?;
        match wire::receive(self.host.requests).context("cannot understand the host")? {
            Some(ToGuest::MoreTime(more)) => Ok(Some(more).filter(|more| !more.is_zero())),
            None => Ok(None),
            Some(_) => bail!("the host asks for something while a case runs"),
        }
    }

    /// Passes on what is left in the pipes. Whatever held them is dead, so they end.
    pub fn drain(&mut self, log: &mut Log) -> Result<()> {
        self.set_timer(DRAIN)?;
        while !self.pipes.is_empty() {
            let turn = self.turn(log)?;
            if turn.a_child_ended {
                self.reap();
            }
            if turn.time_is_over {
                break;
            }
        }
        Ok(())
    }

    /// Passes on what is in the pipes by now: whoever was started and stays may hold them for ever.
    pub fn drain_what_is_there(&mut self, log: &mut Log) -> Result<()> {
        self.set_timer(Duration::ZERO)?;
        while !self.turn(log)?.time_is_over {}
        Ok(())
    }

    /// Has the kernel log say where a case is that does not end: each of its threads, and a trace of each
    /// task that waits in the kernel for something that is not an event (sysrq.rst, `w`).
    pub fn say_where_it_is(&self, log: &mut Log) -> Result<()> {
        for line in self.cases.watch.where_they_are() {
            log.say(&line)?;
        }
        // A guest without SysRq shows nothing.
        let _ = fs::write("/proc/sysrq-trigger", "w");
        Ok(())
    }

    fn set_timer(&self, limit: Duration) -> Result<()> {
        // Nothing at all would switch it off.
        let limit = TimeSpec::from(limit.max(Duration::from_millis(1)));
        let timer = &self.cases.timer;
        timer.set(Expiration::OneShot(limit), TimerSetTimeFlags::empty()).context("no timer")
    }

    /// Waits until something happens, and passes on what there is to read.
    fn turn(&mut self, log: &mut Log) -> Result<Turn> {
        let input = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![input(self.cases.timer.as_fd()), input(self.cases.children.as_fd())];
        fds.push(input(log.as_fd()));
        fds.extend(self.pipes.iter().map(|(_, pipe)| input(pipe.as_fd())));
        fds.extend(self.declarations.iter().map(|socket| input(socket.as_fd())));
        let is_quiet = poll(&mut fds, PollTimeout::from(LOOK_PERIOD)) == Ok(0);
        let readable: Vec<bool> =
            fds.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect();
        let turn = Turn { time_is_over: readable[0], is_quiet, a_child_ended: readable[1] };
        if turn.a_child_ended {
            let _ = self.cases.children.read_signal();
        }
        let (pipes, socket) = readable[3..].split_at(self.pipes.len());
        if let Some(declarations) = &self.declarations
            && socket[0]
            && !declarations.take(log)?
        {
            self.declarations = None;
        }
        self.pass_on(pipes)?;
        if readable[2] {
            // A guest that dies now has told.
            log.read(&mut self.cases.frames)?;
            self.cases.send_waiting(self.host.stream).context("cannot pass on the kernel's log")?;
        }
        Ok(turn)
    }

    /// Passes on what the pipes that are readable hold.
    fn pass_on(&mut self, readable: &[bool]) -> Result<()> {
        let mut readable = readable.iter();
        let Cases { buffer, frames, .. } = &mut *self.cases;
        let (host, mut failed) = (&mut *self.host.stream, None);
        self.pipes.retain_mut(|(stream, pipe)| {
            if !readable.next().is_some_and(|readable| *readable) {
                return true;
            }
            match pipe.read(buffer) {
                Ok(0) => false,
                Ok(count) => {
                    let message =
                        ToHost::Output { stream: *stream, bytes: buffer[..count].to_vec() };
                    let sent = add_frame(frames, &message).and_then(|()| send_frames(host, frames));
                    frames.clear();
                    failed = failed.take().or(sent.err());
                    true
                }
                Err(error) => error.kind() == ErrorKind::Interrupted,
            }
        });
        failed.map_or(Ok(()), |error| Err(error).context("cannot pass on the output of a case"))
    }

    /// Reaps everything that ended; says how the case's own process did. It is reaped by its number, with
    /// all others: PID 1 gets orphans too.
    fn reap(&self) -> Option<ExitStatus> {
        let mut own = None;
        reap(|pid, status| {
            if pid == self.pid.as_raw() {
                own = Some(ExitStatus::from_raw(status));
            }
        });
        own
    }
}

fn end_of(status: ExitStatus) -> ProcessEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => ProcessEnd::Code(code),
        (None, signal) => ProcessEnd::Signal(signal.unwrap_or(0)),
    }
}

/// The time the pipes of a case may stay open once everything that held them was killed.
const DRAIN: Duration = Duration::from_secs(1);

/// How often a case of which nothing is heard is looked at, in milliseconds.
const LOOK_PERIOD: u16 = 1000;
