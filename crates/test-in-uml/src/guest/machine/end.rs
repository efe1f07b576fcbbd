//! How a guest ended, in types and in words.

use std::fmt;

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It said farewell and went.
    Clean {
        /// The process was aborted *after* the farewell, as some kernels do now and then.
        aborted: bool,
    },
    /// It never became ready, but ended so.
    BootFailed(Box<End>),
    /// Its kernel gave up, and said so.
    Panicked(String),
    /// It did not answer in time.
    Hung(String),
    /// It went without a word.
    Lost(String),
}

impl End {
    /// What is known of it beside its kind.
    pub fn detail(&self) -> &str {
        match self {
            End::Clean { aborted: false } => "",
            End::Clean { aborted: true } => "aborted after its farewell",
            End::BootFailed(end) => end.detail(),
            End::Panicked(text) | End::Hung(text) | End::Lost(text) => text,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::BootFailed(end) => {
                f.write_str("did not come up: ")?;
                return match &**end {
                    End::Panicked(line) => f.write_str(line),
                    end => end.fmt(f),
                };
            }
            End::Clean { aborted: false } => "clean",
            End::Clean { aborted: true } => "clean, but ",
            End::Panicked(_) => "kernel panic: ",
            End::Hung(_) => "hung: ",
            End::Lost(_) => "lost: ",
        })?;
        f.write_str(self.detail())
    }
}
