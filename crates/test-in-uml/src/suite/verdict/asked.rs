//! What is known of a case before it runs.

use uml_protocol::wire::Exit;

use crate::guest::machine::CaseRecord;
use crate::suite::inject::Inject;
use crate::suite::programs::Rules;
use crate::suite::word::{self, Word};

/// What a guest was asked to run.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The test's name in its binary.
    pub name: &'a str,
    /// Where the binary's harness says how it ended.
    pub word: Word,
    /// The number of cases the binary lists.
    pub listed: usize,
    /// How a program of a suite says how it ended, if it is one.
    pub rules: Option<&'a Rules>,
    /// What of that which it asked of the kernel failed on purpose: that it fails then is no fault.
    pub injected: Option<&'a Inject>,
}

impl Asked<'_> {
    /// libtest's own word. Exit code 0 alone would call a test green that called `exit(0)`, or whose name the
    /// binary does not know.
    pub(super) fn judge(self, record: &CaseRecord, exit: &Exit) -> Result<(), String> {
        match self.word {
            Word::LogFile => word::judge_log(exit.word.as_deref().unwrap_or(""), self.name),
            Word::Stdout => {
                let stdout = record.output.end_of_stdout();
                word::judge_stdout(&String::from_utf8_lossy(&stdout), self.listed)
            }
            // It is judged by then.
            Word::ExitCode => Ok(()),
        }
    }
}
