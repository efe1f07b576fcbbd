//! The programs that we start on the host: how each is called, whose ids it sees, and where its output goes.
//!
//! All of them are contained: they end with us, however we end. There are four other ways to start a program, each
//! where this one cannot be: on the stage, whose PID 1 must have no thread, by `std::process`; a question to a tool
//! of the system whose answer is a few lines, by duct; what talks to the person before us (apt, sudo) or is a step of
//! `ci`, by xshell; what has the person's terminal (a command in `in-guest`, each run of a `bisect`), by
//! `std::process`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::contain::Running;
use super::{CONTAIN, Ids, Isolation, Privilege};

/// Where a program's output goes.
#[derive(Debug)]
pub enum Output {
    /// Where ours goes.
    Ours,
    /// Standard output goes there, and standard error where ours goes.
    Stdout(OwnedFd),
    /// Both go there.
    Both(OwnedFd),
}

/// A program that we start on the host, and that cannot outlive us.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    /// Variables that it has beside ours, and those of ours that it has not.
    env: BTreeMap<OsString, Option<OsString>>,
    dir: Option<PathBuf>,
    ids: Ids,
}

impl Cmd {
    /// The command that runs `program`, found through `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        Self { program, args: Vec::new(), env: BTreeMap::new(), dir: None, ids: Ids::Own }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Takes a variable out of the environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), None);
        self
    }

    /// Says whose ids the command sees; its own without this.
    #[must_use]
    pub fn ids(mut self, ids: Ids) -> Self {
        self.ids = ids;
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Starts it, contained.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, isolation: &Isolation, output: Output) -> Result<Running> {
        let mut command = isolation.hidden(CONTAIN);
        let ids = if *isolation.privilege() == Privilege::None { "none" } else { self.ids.name() };
        command.arg(ids).arg(&self.program).args(&self.args);
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        match output {
            Output::Ours => {}
            Output::Stdout(file) => drop(command.stdout(file)),
            Output::Both(file) => {
                let twin = file.try_clone().context("cannot duplicate the output of a program")?;
                command.stdout(file).stderr(twin);
            }
        }
        Running::start(command)
    }
}

/// Has a program that is not contained be asked to end (SIGTERM) when we end, however we do.
pub fn ended_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: the call is one of the kernel's alone.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGTERM)?)) }
}

/// As one would type it into a shell, where it runs without the namespaces.
impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |word: &OsStr| {
            let word = word.to_string_lossy();
            shlex::try_quote(&word).map_or_else(|_| word.to_string(), |word| word.into_owned())
        };
        if let Some(dir) = &self.dir {
            write!(f, "cd {} && ", quoted(dir.as_os_str()))?;
        }
        let set = |(name, value): (_, &Option<OsString>)| Some((name, value.clone()?));
        for (name, value) in self.env.iter().filter_map(set) {
            write!(f, "{}={} ", name.to_string_lossy(), quoted(&value))?;
        }
        write!(f, "{}", quoted(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}
