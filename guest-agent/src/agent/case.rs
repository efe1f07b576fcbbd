//! One case: its process, its output, its time, and what it leaves behind.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use guest_agent::env;
use guest_agent::marker::Event;
use guest_agent::wire::{End, Exit, Run, Stream, ToHost, send};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::declarations::Declarations;
use crate::leftovers::Before;
use crate::programs::Programs;
use crate::{Log, Role, init};

/// How long the pipes of a case may stay open once everything that held them was killed.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs a case between its two markers.
pub fn run(
    run: &Run,
    role: Role,
    programs: &Programs,
    host: &mut TcpStream,
    log: &mut Log,
) -> Result<Exit> {
    programs.settle();
    let before = Before::now()?;
    let dir = CaseDir::make(run.sequence)?;
    log.mark(Event::Begin(run.sequence))?;
    let started = Instant::now();
    let mut case = Case::start(run, &dir, host)?;
    let end = case.wait(started + run.timeout, log)?;
    let duration = started.elapsed();
    if end == End::TimedOut {
        say_where_tasks_wait();
    }
    // Without it nothing else is found that was left.
    let unmounted = init::mount_proc_again()?;
    let mut leftovers = before.end_processes(role);
    case.drain(log)?;
    leftovers.extend(unmounted);
    leftovers.extend(before.end_mounts()?);
    leftovers.extend(before.modules()?);
    leftovers.extend(before.end_clock());
    leftovers.extend(programs.changed());
    let tainted = before.tainted();
    let skip = fs::read_to_string(dir.skip_file()).ok().map(|why| why.trim().to_owned());
    drop(dir);
    leftovers.extend(before.taken());
    log.mark(Event::End(run.sequence))?;
    Ok(Exit { sequence: run.sequence, end, duration, skip, leftovers, tainted })
}

/// Has the kernel log show each task that waits in it, with a trace (sysrq.rst, `w`): they are what
/// a case that does not end may wait for.
fn say_where_tasks_wait() {
    // A guest without SysRq shows nothing.
    let _ = fs::write("/proc/sysrq-trigger", "w");
}

/// The fresh folder of a case, on the root file system; removed when the case is over.
struct CaseDir(PathBuf);

impl CaseDir {
    fn make(sequence: u32) -> Result<Self> {
        let path = Path::new("/var/tmp").join(format!("uml-case-{sequence}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("tmp"))
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn work(&self) -> PathBuf {
        self.0.join("tmp")
    }

    fn skip_file(&self) -> PathBuf {
        self.0.join("skip")
    }
}

impl Drop for CaseDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A case that runs.
struct Case<'a> {
    pid: i32,
    host: &'a mut TcpStream,
    pipes: Vec<(Stream, File)>,
    ended: SignalFd,
    /// Nothing once the case cannot declare anything any more.
    declarations: Option<Declarations>,
}

impl<'a> Case<'a> {
    fn start(run: &Run, dir: &CaseDir, host: &'a mut TcpStream) -> Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().context("cannot block SIGCHLD")?;
        let ended = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("cannot wait for SIGCHLD")?;
        let (declarations, theirs) = Declarations::open()?;
        let their_number = theirs.as_raw_fd();
        let mut command = command(run, dir);
        command.env(env::DECLARATIONS, their_number.to_string());
        // SAFETY: all calls are async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                if nix::libc::fcntl(their_number, nix::libc::F_SETFD, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                nix::unistd::setsid()?;
                init::give_up_protection()?;
                Ok(SigSet::all().thread_unblock()?)
            })
        };
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut pipes = Vec::new();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            pipes.push((Stream::Stdout, File::from(OwnedFd::from(out))));
            pipes.push((Stream::Stderr, File::from(OwnedFd::from(err))));
        }
        // The process is reaped by its number, with all others: PID 1 gets orphans too.
        let pid = child.id().cast_signed();
        Ok(Self { pid, host, pipes, ended, declarations: Some(declarations) })
    }

    /// Passes the output on until the process ends or its time is over.
    fn wait(&mut self, deadline: Instant, log: &mut Log) -> Result<End> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(End::TimedOut);
            }
            self.turn(left, log)?;
            if let Some(status) = self.reap() {
                return Ok(match (status.code(), status.signal()) {
                    (Some(code), _) => End::Code(code),
                    (None, signal) => End::Signal(signal.unwrap_or(0)),
                });
            }
        }
    }

    /// Passes on what is left in the pipes. Whatever held them is dead, so they end.
    fn drain(&mut self, log: &mut Log) -> Result<()> {
        let deadline = Instant::now() + DRAIN;
        while !self.pipes.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.turn(left, log)?;
            self.reap();
        }
        Ok(())
    }

    /// Waits until something happens, and passes on what there is to read.
    fn turn(&mut self, left: Duration, log: &mut Log) -> Result<()> {
        let mut fds = vec![PollFd::new(self.ended.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.pipes.iter().map(|(_, pipe)| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        let declared = self.declarations.iter();
        fds.extend(declared.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        // A millisecond more, so that the last turn does not spin.
        let limit = PollTimeout::try_from(left + Duration::from_millis(1));
        let _ = poll(&mut fds, limit.unwrap_or(PollTimeout::MAX));
        let readable: Vec<bool> = fds[1..]
            .iter()
            .map(|fd| fd.revents().is_some_and(|events| !events.is_empty()))
            .collect();
        let _ = self.ended.read_signal();
        if let Some(socket) = &self.declarations
            && readable[self.pipes.len()]
            && !socket.take(log)?
        {
            self.declarations = None;
        }
        self.pass_on(&readable)
    }

    /// Passes on what the pipes that are readable hold.
    fn pass_on(&mut self, readable: &[bool]) -> Result<()> {
        let mut index = 0;
        let (host, mut failed) = (&mut *self.host, None);
        self.pipes.retain_mut(|(stream, pipe)| {
            index += 1;
            if !readable[index - 1] {
                return true;
            }
            let mut bytes = vec![0; 64 << 10];
            match pipe.read(&mut bytes) {
                Ok(0) => false,
                Ok(count) => {
                    bytes.truncate(count);
                    let message = ToHost::Output { stream: *stream, bytes };
                    failed = failed.take().or(send(host, &message).err());
                    true
                }
                Err(error) => error.kind() == ErrorKind::Interrupted,
            }
        });
        failed.map_or(Ok(()), |error| Err(error).context("cannot pass on the output of a case"))
    }

    /// Reaps everything that ended; says how the case's own process did.
    fn reap(&self) -> Option<ExitStatus> {
        let mut own = None;
        loop {
            let mut status = 0;
            // SAFETY: `status` is a valid place for waitpid(2) to write to.
            let pid = unsafe { nix::libc::waitpid(-1, &mut status, nix::libc::WNOHANG) };
            match pid {
                pid if pid <= 0 => return own,
                pid if pid == self.pid => own = Some(ExitStatus::from_raw(status)),
                _ => {}
            }
        }
    }
}

fn command(run: &Run, dir: &CaseDir) -> Command {
    let work = dir.work();
    let mut command = Command::new(guest_agent::path_of(&run.program));
    command
        .args(&run.args)
        .current_dir(&work)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .env("HOME", &work)
        .env("TMPDIR", &work)
        .env(env::GUEST, "1")
        .env(env::CASE_DIR, &work)
        .env(env::SKIP_FILE, dir.skip_file())
        .envs(run.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
