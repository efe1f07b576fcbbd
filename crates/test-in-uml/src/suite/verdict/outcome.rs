//! How a case ended, and why.

use std::fmt;

use crate::guest::Complaint;
use crate::guest::machine::End;
use crate::record::CaseEnd;

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The test says that it passed, and nothing speaks against it.
    Passed,
    /// The test failed.
    Failed(String),
    /// The kernel complained while the test ran, whatever the test says.
    Kernel(Complaint),
    /// The test took too long, and was ended.
    TimedOut,
    /// The test could not do its work in this guest, and says why.
    Skipped(String),
    /// The guest ended while the test ran.
    Died {
        /// How.
        end: End,
        /// What its kernel complained of first.
        complaint: Option<Complaint>,
    },
    /// The case's own record cannot be trusted.
    Untrusted(String),
    /// It failed as it is known to.
    Known {
        /// Why it does.
        why: String,
        /// How it failed.
        found: Box<Outcome>,
    },
    /// The case was not begun.
    NotRun(String),
}

impl Outcome {
    /// How the case ended, by the word of the report.
    pub fn end(&self) -> CaseEnd {
        match self {
            Outcome::Passed => CaseEnd::Passed,
            Outcome::Failed(_) => CaseEnd::Failed,
            Outcome::Kernel(_) => CaseEnd::Kernel,
            Outcome::TimedOut => CaseEnd::TimedOut,
            Outcome::Skipped(_) => CaseEnd::Skipped,
            Outcome::Died { end: End::Panicked(_), .. } => CaseEnd::Panicked,
            Outcome::Died { end: End::Hung(_), .. } => CaseEnd::Hung,
            Outcome::Died { .. } => CaseEnd::Lost,
            Outcome::Untrusted(_) => CaseEnd::Error,
            Outcome::Known { .. } => CaseEnd::Known,
            Outcome::NotRun(_) => CaseEnd::NotRun,
        }
    }

    /// Returns true if the run is red because of it.
    pub fn is_failure(&self) -> bool {
        self.end().is_failure()
    }

    /// What was said last that makes it a failure of the kernel's.
    pub fn said_last(&self) -> Option<&str> {
        match self {
            Outcome::Kernel(complaint) | Outcome::Died { complaint: Some(complaint), .. } => {
                Some(&complaint.line)
            }
            Outcome::Died { end, .. } => Some(end.detail()),
            _ => None,
        }
    }

    /// What the kernel complained of, by the name of its pattern.
    pub fn complaint(&self) -> Option<&'static str> {
        match self {
            Outcome::Kernel(complaint) | Outcome::Died { complaint: Some(complaint), .. } => {
                Some(complaint.name)
            }
            Outcome::Known { found, .. } => found.complaint(),
            _ => None,
        }
    }
}

/// What is known beside the word.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed | Outcome::TimedOut => Ok(()),
            Outcome::Kernel(complaint) => write!(f, "{complaint}"),
            Outcome::Known { why, found } => {
                let word = found.end().word();
                match found.to_string().as_str() {
                    "" => write!(f, "{why} ({word})"),
                    detail => write!(f, "{why} ({word}: {detail})"),
                }
            }
            Outcome::Failed(why)
            | Outcome::Skipped(why)
            | Outcome::Untrusted(why)
            | Outcome::NotRun(why) => write!(f, "{why}"),
            Outcome::Died { end: End::Panicked(line), complaint: Some(complaint) } => {
                write!(f, "{complaint}")?;
                // The line of the panic says little when another came before it.
                if *line == complaint.line { Ok(()) } else { write!(f, "; {line}") }
            }
            Outcome::Died { end, complaint: Some(complaint) } => {
                write!(f, "{complaint}; {}", end.detail())
            }
            Outcome::Died { end, complaint: None } => f.write_str(end.detail()),
        }
    }
}
