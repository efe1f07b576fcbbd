//! What a person sees while we work: lines that stay, and one status line that moves.

use std::fmt::Display;
use std::io::{BufRead as _, ErrorKind, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anstyle::AnsiColor;
use anyhow::{Context as _, Result, bail};
use nix::pty::Winsize;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Only what went wrong.
    Quiet,
    /// One line a step.
    Normal,
    /// Every command too.
    Verbose,
}

/// What a word is to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// Something is to be looked at.
    Warn,
    /// Something failed.
    Bad,
}

/// Writes to standard error; standard output is left to what a command was asked for.
#[derive(Debug)]
pub struct Ui {
    verbosity: Verbosity,
    terminal: bool,
    coloured: bool,
    state: Mutex<UiState>,
}

/// What moves at the end of the terminal.
#[derive(Debug, Default)]
struct UiState {
    /// How far the run is.
    block: Vec<String>,
    /// What a step is doing at this moment.
    status: Option<String>,
    /// How many lines of it are on the screen.
    shown: usize,
    last_status: Option<Instant>,
}

/// A status that changes more often than this is not redrawn: a terminal shows no more.
const STATUS_PERIOD: Duration = Duration::from_millis(100);

/// The width of a terminal that does not say it.
const WIDTH: usize = 80;

impl Ui {
    /// What moves is drawn on a terminal only, and so are colours, unless `NO_COLOR` forbids them
    /// (<https://no-color.org>).
    pub fn new(verbosity: Verbosity) -> Self {
        let terminal = std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let coloured = terminal && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        Self { verbosity, terminal, coloured, state: Mutex::default() }
    }

    /// Returns true if every command is said.
    pub fn is_verbose(&self) -> bool {
        self.verbosity >= Verbosity::Verbose
    }

    /// Returns true if anything can move on the screen.
    pub fn is_live(&self) -> bool {
        self.terminal && self.verbosity >= Verbosity::Normal
    }

    /// A line about what was done.
    pub fn say(&self, line: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.line(line);
        }
    }

    /// A line that only a curious user wants.
    pub fn detail(&self, line: &str) {
        if self.is_verbose() {
            self.line(line);
        }
    }

    /// A line that everybody gets.
    pub fn warn(&self, line: &str) {
        self.line(&format!("{}: {line}", self.paint(Tone::Warn, "warning")));
    }

    /// A line that everybody gets, as it is.
    pub fn line(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.status = None;
        let text = format!("{}{line}\n{}", state.erase(), state.draw());
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// What is being done at this moment; replaced by whatever is written next.
    pub fn status(&self, text: &str) {
        if !self.is_live() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last_status.is_some_and(|last| last.elapsed() < STATUS_PERIOD) {
            return;
        }
        state.last_status = Some(Instant::now());
        state.status = Some(text.into());
        state.redraw();
    }

    /// How far the run is, in lines that stay at the end of the terminal until they are replaced.
    pub fn progress(&self, lines: Vec<String>) {
        if !self.is_live() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.block != lines {
            state.block = lines;
            state.redraw();
        }
    }

    /// A text in the colour of its tone.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.coloured {
            return text.into();
        }
        let colour = match tone {
            Tone::Good => AnsiColor::Green,
            Tone::Warn => AnsiColor::Yellow,
            Tone::Bad => AnsiColor::Red,
        };
        let style = colour.on_default().bold();
        format!("{style}{text}{style:#}")
    }
}

impl UiState {
    /// What takes the lines that move off the screen.
    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.shown) {
            0 => String::new(),
            1 => "\r\x1b[J".into(),
            lines => format!("\r\x1b[{}A\x1b[J", lines - 1),
        }
    }

    /// What puts them there again.
    fn draw(&mut self) -> String {
        // A line that is wrapped would be more than one to erase.
        let width = width().saturating_sub(1);
        let lines: Vec<String> = self
            .block
            .iter()
            .chain(&self.status)
            .map(|line| line.chars().take(width).collect())
            .collect();
        self.shown = lines.len();
        lines.join("\n")
    }

    fn redraw(&mut self) {
        let text = format!("{}{}", self.erase(), self.draw());
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

fn width() -> usize {
    let size = size_of(std::io::stderr().as_fd());
    size.map_or(WIDTH, |size| size.ws_col.into())
}

nix::ioctl_read_bad!(
    /// The size of a terminal (ioctl_tty(2)).
    get_size,
    nix::libc::TIOCGWINSZ,
    Winsize
);

/// The size of a terminal, if this is one and says it.
pub(crate) fn size_of(terminal: BorrowedFd<'_>) -> Option<Winsize> {
    let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes a whole `winsize`, and this is one.
    let got = unsafe { get_size(terminal.as_raw_fd(), &mut size) };
    got.ok().filter(|_| size.ws_row > 0).map(|_| size)
}

impl Drop for Ui {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = std::io::stderr().write_all(state.erase().as_bytes());
    }
}

/// Standard output cannot be written to, wherever it leads.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct NoOutput(std::io::Error);

/// What a command was asked for, as a line on standard output. A reader who had enough of it, as
/// head(1) has, is no error.
///
/// # Errors
/// When it cannot be written, for example to a full disk.
pub fn print(line: impl Display) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(NoOutput(error).into()),
        _ => Ok(()),
    }
}

/// A line where there is no [`Ui`]. One write a line keeps lines whole; a closed standard error must
/// not end a run, as eprintln! would.
pub fn to_stderr(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Asks whether to do something; what spares the question is for who cannot be asked.
///
/// # Errors
/// When standard input is no terminal.
pub fn agreed(does: &str, unasked: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody can be asked here whether to {does}: {unasked}");
    }
    let _ = write!(std::io::stderr(), "{does}? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("cannot read an answer")?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// A duration as a person reads it: `0.04s`, `12.3s`, `2m 05s`.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 10.0 => format!("{s:.2}s"),
        s if s < 60.0 => format!("{s:.1}s"),
        s => format!("{}m {:02}s", s as u64 / 60, s as u64 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let text = |millis| human_duration(Duration::from_millis(millis));
        assert_eq!(text(41), "0.04s");
        assert_eq!(text(12_340), "12.3s");
        assert_eq!(text(125_900), "2m 05s");
    }
}
