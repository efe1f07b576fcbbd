//! A step of a run: its commands are printed when asked for, logged to a file of the step, and on
//! failure shown with the end of that log, as a line that can be pasted into a shell.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, PipeReader, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::cancel::{self, Interruptible};
use crate::ctx::Ctx;
use crate::isolation::{Contained, Ids};

/// How many of the log's last lines a failure shows.
const TAIL: usize = 25;

/// A command of a step.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    ids: Ids,
}

impl Cmd {
    /// The command that runs `program`, found through `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        Self { program, args: Vec::new(), env: Vec::new(), dir: None, ids: Ids::Own }
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
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
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
        for (name, value) in &self.env {
            write!(f, "{}={} ", name.to_string_lossy(), quoted(value))?;
        }
        write!(f, "{}", quoted(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

/// A step with its log.
#[derive(Debug)]
pub struct Step<'a> {
    ctx: &'a Ctx,
    name: String,
    log_path: PathBuf,
    log: File,
    started: Instant,
}

impl<'a> Step<'a> {
    /// Begins the step called `name`.
    ///
    /// # Errors
    /// When its log cannot be made.
    pub fn begin(ctx: &'a Ctx, name: &str) -> Result<Self> {
        let log_path = ctx.run()?.step_log(name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .with_context(|| format!("cannot make the log {}", log_path.display()))?;
        ctx.ui.status(&format!("{name} …"));
        Ok(Self { ctx, name: name.into(), log_path, log, started: Instant::now() })
    }

    /// Where the step's log is.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// How long the step has been going on.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started, or fails: with the line to paste and the end of the log.
    pub fn run(&self, cmd: &Cmd) -> Result<()> {
        self.run_watched(cmd, |_| {})
    }

    /// Runs a command and gives each line of its output to `watch` as it comes.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub fn run_watched(&self, cmd: &Cmd, mut watch: impl FnMut(&str)) -> Result<()> {
        self.ctx.ui.detail(&format!("$ {cmd}"));
        self.note(&format!("$ {cmd}"))?;
        let (output, theirs) = std::io::pipe().context("cannot make a pipe")?;
        let mut contained =
            Contained::new(self.ctx.isolation()?, cmd.ids, &cmd.program).args(&cmd.args);
        for (name, value) in &cmd.env {
            contained = contained.env(name, value);
        }
        if let Some(dir) = &cmd.dir {
            contained = contained.dir(dir);
        }
        let mut running = contained.output_to(theirs.into())?.spawn()?;
        self.copy_output(output, &mut watch)?;
        match running.wait()?.code() {
            Some(0) => Ok(()),
            Some(code) if code > 128 => Err(self.failed(cmd, &format!("signal {}", code - 128))),
            Some(code) => Err(self.failed(cmd, &format!("exit code {code}"))),
            None => Err(self.failed(cmd, "killed")),
        }
    }

    /// Copies output to the log until its end, or until the user asks us to stop.
    fn copy_output(&self, output: PipeReader, watch: &mut impl FnMut(&str)) -> Result<()> {
        let mut lines = BufReader::new(Interruptible(output));
        let mut line = Vec::new();
        loop {
            let count = lines.read_until(b'\n', &mut line);
            cancel::check()?;
            if count.context("cannot read the output of a command")? == 0 {
                return Ok(());
            }
            (&self.log).write_all(&line).context("cannot write the step's log")?;
            watch(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    }

    /// Shows a moving line about what the step is doing.
    pub fn progress(&self) -> impl Fn(&str) {
        |what| self.ctx.ui.status(&format!("{}: {what}", self.name))
    }

    /// Ends the step with a line about what came of it.
    pub fn done(self, what: &str) {
        let time = crate::ui::human_duration(self.elapsed());
        self.ctx.ui.say(&format!("{:>12} {what} [{time}]", self.name));
    }

    /// Writes a line of our own to the log.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn note(&self, line: &str) -> Result<()> {
        writeln!(&self.log, "{line}")
            .with_context(|| format!("cannot write {}", self.log_path.display()))
    }

    fn failed(&self, cmd: &Cmd, how: &str) -> anyhow::Error {
        let text = std::fs::read(&self.log_path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n    ");
        anyhow!(
            "{} failed: {how}\n  the command, to run it by hand:\n    {cmd}\n  the end of {}:\n    {tail}",
            self.name,
            self.log_path.display()
        )
    }
}
