//! One command of a person's, from its start to its end.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, setsid};
use uml_protocol::commands::{self, ToCommand};
use uml_protocol::wire::{ProcessEnd, receive};

use super::Host;
use super::standard::{Standard, take_terminal};
use super::streams::{forward, write_input};
use crate::{Role, file_systems, init};

/// Where a command of root's looks for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where root is at home, and a command begins.
const HOME: &str = "/root";

/// Runs it to its end, which is told by what is returned.
pub fn run(
    wanted: &commands::Command,
    requests: impl Read + Send + 'static,
    host: &Host,
) -> Result<ProcessEnd> {
    let (standard, theirs) = Standard::open(wanted.terminal.as_ref())?;
    let mut child = spawn(wanted, theirs)?;
    let group = Group::of(&child)?;
    match serve(standard, requests, &group, host) {
        Ok((over, outputs)) => {
            let status = group.wait(&mut child)?;
            // What is written by now is sent.
            drop(over);
            for output in outputs {
                let _ = output.join();
            }
            end_of(status)
        }
        Err(error) => {
            group.signal(Signal::SIGKILL);
            group.wait(&mut child)?;
            Err(error)
        }
    }
}

/// Starts the threads between the command and the host. Those of its output end once the pipe is closed that is
/// returned, that of its input with the connection.
fn serve(
    standard: Standard,
    requests: impl Read + Send + 'static,
    group: &Group,
    host: &Host,
) -> Result<(io::PipeWriter, Vec<JoinHandle<()>>)> {
    let spawn = |body: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().spawn(body).context("cannot start a thread")
    };
    let Standard { input, outputs, terminal } = standard;
    let (inputs, arrived) = channel();
    let (writer, group) = (host.clone(), group.clone());
    spawn(Box::new(move || write_input(input, &arrived, &writer)))?;
    spawn(Box::new(move || {
        let mut requests = requests;
        let mut inputs = Some(inputs);
        while let Ok(Some(request)) = receive(&mut requests) {
            match (request, &inputs, &terminal) {
                // What nobody reads any more is dropped.
                (ToCommand::Input(bytes), Some(inputs), _) => drop(inputs.send(bytes)),
                (ToCommand::InputOver, ..) => inputs = None,
                (ToCommand::Resize(size), _, Some(terminal)) => terminal.resize(size),
                (ToCommand::Signal(number), ..) => {
                    if let Ok(signal) = Signal::try_from(number) {
                        group.signal(signal);
                    }
                }
                _ => {}
            }
        }
        // As when a terminal is closed.
        group.signal(Signal::SIGHUP);
    }))?;
    let (ended, over) = io::pipe().context("cannot make a pipe")?;
    let mut threads = Vec::new();
    for (stream, from) in outputs {
        let (ended, host) = (ended.try_clone()?, host.clone());
        threads.push(spawn(Box::new(move || forward(stream, from, &ended, &host)))?);
    }
    Ok((over, threads))
}

fn spawn(wanted: &commands::Command, [stdin, stdout, stderr]: [OwnedFd; 3]) -> Result<Child> {
    let Some((program, args)) = wanted.argv.split_first() else { bail!("a command has a name") };
    let mut command = Command::new(program);
    command.args(args).current_dir(if Path::new(HOME).is_dir() { HOME } else { "/" });
    command.env_clear().envs([
        ("PATH", PATH),
        ("HOME", HOME),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/sh"),
        ("LANG", "C.UTF-8"),
    ]);
    command.envs(file_systems::configuration().map(|path| (file_systems::VARIABLE, path)));
    command.envs(wanted.terminal.as_ref().map(|terminal| ("TERM", OsStr::new(&terminal.kind))));
    command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
    let has_terminal = wanted.terminal.is_some();
    let become_it = move || {
        // The leader of a session: a signal for its group is for all that it started.
        setsid()?;
        if has_terminal {
            // SAFETY: TIOCSCTTY takes a number. Standard input is the terminal by now.
            unsafe { take_terminal(0, 0) }?;
        }
        Ok(init::give_up_protection(Role::Service)?)
    };
    // SAFETY: nothing in it allocates, and all of it may be called after a fork (signal-safety(7)).
    unsafe { command.pre_exec(become_it) };
    command.spawn().with_context(|| format!("cannot start {program}"))
}

/// The processes of a command, as long as it runs.
#[derive(Clone)]
struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    fn of(child: &Child) -> Result<Self> {
        let leader = Pid::from_raw(i32::try_from(child.id())?);
        Ok(Self(Arc::new(Mutex::new(Some(leader)))))
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = killpg(leader, signal);
        }
    }

    /// Waits for the command's end. Nobody signals a group whose number may be another's by then.
    fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let leader = Pid::from_raw(i32::try_from(child.id())?);
        let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(leader), ended) == Err(Errno::EINTR) {}
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        child.wait().context("cannot reap a process")
    }
}

fn end_of(status: ExitStatus) -> Result<ProcessEnd> {
    let signal = || status.signal().map(ProcessEnd::Signal);
    status.code().map(ProcessEnd::Code).or_else(signal).context("it neither exited nor was killed")
}
