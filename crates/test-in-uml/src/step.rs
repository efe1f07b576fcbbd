//! A step of a run: its commands are printed when asked for, logged to a file of the step, and on
//! failure shown with the end of that log, as a line that can be pasted into a shell.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, PipeReader, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::cancel::{CancelToken, Interruptible};
use crate::ctx::Ctx;
use crate::isolation::{Cmd, Output};

/// The number of the log's last lines that a failure shows.
const TAIL: usize = 25;

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

    /// Ends the step's work.
    pub fn cancel(&self) -> &CancelToken {
        &self.ctx.cancel
    }

    /// Where the step's log is.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// The time the step has been going on.
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
        let mut running = cmd.start(self.ctx.isolation()?, Output::Both(theirs.into()))?;
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
        let mut lines = BufReader::new(Interruptible { output, cancel: self.ctx.cancel.clone() });
        let mut line = Vec::new();
        loop {
            let count = lines.read_until(b'\n', &mut line);
            self.ctx.cancel.check()?;
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
