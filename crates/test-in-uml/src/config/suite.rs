//! `[workspace.metadata.uml.suites.NAME]`: tests that are no Rust ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[workspace.metadata.uml.suites.NAME]`: programs, each of which is a case.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Suite {
    /// The folder of its sources, relative to the workspace's root.
    pub folder: PathBuf,
    /// What builds it: a line for sh(1), run in a copy of the folder, that puts programs and what they need into the
    /// folder `$OUT`. Without it the folder is taken as it is.
    #[serde(default)]
    pub build: Option<String>,
    /// The programs that are cases: names of executable files, in which `*` is any text. Other executable files are there for
    /// them.
    #[serde(default = "every")]
    pub programs: Vec<String>,
    /// A file of what was built that has the cases, a line for each: its name, the name of the program, and arguments. As
    /// in LTP's folder runtest; takes the place of `programs`.
    #[serde(default)]
    pub list: Option<String>,
    /// The cases among them that are run only where ignored ones are asked for, in the same words.
    #[serde(default)]
    pub ignored: Vec<String>,
    /// How a program says how it ended.
    #[serde(default)]
    pub result: ResultBy,
    /// The exit codes by which one says that it cannot do its work here [default: those of `result`].
    #[serde(default)]
    pub skip_codes: Option<Vec<i32>>,
    /// Symbols of a kernel's configuration, without `CONFIG_`: on a kernel without one of them its cases are skipped.
    #[serde(default)]
    pub needs: Vec<String>,
    /// The time that one may take [default: `case-timeout`].
    #[serde(default, with = "humantime_serde::option")]
    pub timeout: Option<Duration>,
    /// The time for which each runs, if it need not end by itself: if nothing was wrong until then, it has passed.
    #[serde(default, with = "humantime_serde::option")]
    pub run_for: Option<Duration>,
    /// True if each gets a guest of its own.
    #[serde(default)]
    pub fresh: bool,
    /// Variables that they have.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// Any text, as a pattern.
pub(super) fn every() -> Vec<String> {
    vec!["*".into()]
}

/// How a program says how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultBy {
    /// By its exit code: 0 if it passed, 77 if it was skipped, as Automake and Meson have it.
    #[default]
    ExitCode,
    /// By the Test Anything Protocol on its standard output, and by exit code 0.
    Tap,
    /// As kselftest has it: by its exit code, of which 2 is an expected failure and 4 a skip, and by KTAP lines where it
    /// writes any (Documentation/dev-tools/kselftest.rst, ktap.rst).
    Kselftest,
    /// As LTP has it: by the bits of its exit code.
    Ltp,
}
