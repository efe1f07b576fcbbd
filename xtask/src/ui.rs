//! What a person sees while we work: lines that stay, and one status line that moves.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// Writes to standard error; standard output is left to what a command was asked for.
#[derive(Debug)]
pub struct Ui {
    verbosity: Verbosity,
    terminal: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    status_shown: bool,
    last_status: Option<Instant>,
}

/// A status that changes more often than this is not redrawn: a terminal shows no more.
const STATUS_PERIOD: Duration = Duration::from_millis(100);

impl Ui {
    /// A status line is drawn on a terminal only.
    pub fn new(verbosity: Verbosity) -> Self {
        let terminal = std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let state = Mutex::new(State { status_shown: false, last_status: None });
        Self { verbosity, terminal, state }
    }

    /// Whether every command is said.
    pub fn is_verbose(&self) -> bool {
        self.verbosity >= Verbosity::Verbose
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
        self.line(&format!("warning: {line}"));
    }

    /// A line that everybody gets, as it is.
    pub fn line(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = if std::mem::take(&mut state.status_shown) { "\r\x1b[K" } else { "" };
        // One write a line keeps lines whole; a closed standard error must not end a run.
        let _ = std::io::stderr().write_all(format!("{clear}{line}\n").as_bytes());
    }

    /// What is being done at this moment; replaced by whatever is written next.
    pub fn status(&self, text: &str) {
        if !self.terminal || self.verbosity < Verbosity::Normal {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last_status.is_some_and(|last| last.elapsed() < STATUS_PERIOD) {
            return;
        }
        state.last_status = Some(Instant::now());
        state.status_shown = true;
        let text: String = text.chars().take(78).collect();
        let _ = std::io::stderr().write_all(format!("\r\x1b[K{text}").as_bytes());
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        if self.state.get_mut().unwrap_or_else(PoisonError::into_inner).status_shown {
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }
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
