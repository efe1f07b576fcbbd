//! What a test binary says of itself: its cases. Nothing of the user's runs on the host but for this,
//! and this is shut in.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::build::{Harness, TestBinary};
use super::word::Word;
use crate::cancel::CancelToken;
use crate::guest::Program;
use crate::isolation::{Exceeded, Isolation, Shown, ShutLimits, shut_in};

/// What a test binary says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listing {
    /// Its cases, in its own order.
    pub cases: Vec<Listed>,
    /// How many cases and benchmarks it has.
    pub listed: usize,
    /// Where its harness says how a case ended.
    pub word: Word,
}

/// A case of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub name: String,
    pub ignored: bool,
}

/// What a test binary that lists its cases may take: libtest needs milliseconds, and nearly nothing.
const LIMITS: ShutLimits =
    ShutLimits { time: Duration::from_secs(30), output: 64 << 20, memory: 2 << 30, threads: 1024 };

/// What is asked of a test binary.
const LIST: &[&str] = &["--list", "--format", "terse"];
const LIST_IGNORED: &[&str] = &["--list", "--format", "terse", "--ignored"];
const HELP: &[&str] = &["--help"];

/// The one case of a target whose own `main` knows no cases.
const WHOLE: &str = "main";

impl Listing {
    /// Asks a test binary. One with a `main` of its own that does not answer is one case: its exit code says how
    /// it ended.
    ///
    /// # Errors
    /// When it cannot be shut in, or has libtest's harness and does not list its cases.
    pub fn of(
        cancel: &CancelToken,
        isolation: &Isolation,
        binary: &TestBinary,
        program: &Program,
    ) -> Result<Self> {
        let TestBinary { name: target, package, harness, .. } = binary;
        let env = [format!("{}=1", uml_protocol::env::LISTING)];
        let asked = [LIST, LIST_IGNORED, HELP];
        let shown = shut_in(cancel, isolation, program, &env, &asked, &LIMITS);
        let shown = match shown {
            // It does its work whatever it is asked, and that takes its time.
            Err(error) if *harness == Harness::Own && error.is::<Exceeded>() => return Ok(Self::whole()),
            shown => shown.with_context(|| {
                format!(
                    "cannot list the cases of test target `{target}` of `{package}`; before it lists them \
                     only its constructors run, or its own `main` with `harness = false`"
                )
            })?,
        };
        let [all, ignored, help] =
            <[Shown; 3]>::try_from(shown).ok().context("a run is missing")?;
        match (Self::read(&all, &ignored, &help), harness) {
            (Err(_), Harness::Own) => Ok(Self::whole()),
            (listing, _) => listing.with_context(|| {
                let said = end_of(&all.stderr);
                format!("test target `{target}` of `{package}` does not list its cases{said}")
            }),
        }
    }

    fn whole() -> Self {
        let case = Listed { name: WHOLE.into(), ignored: false };
        Self { cases: vec![case], listed: 1, word: Word::ExitCode }
    }

    fn read(all: &Shown, ignored: &Shown, help: &Shown) -> Result<Self> {
        let (all, ignored) = (parse(text_of(all)?)?, parse(text_of(ignored)?)?);
        ensure!(!all.is_empty() || is_harness(help), "it has none, and no harness of libtest's");
        let ignored: HashSet<&str> = ignored.iter().filter_map(ListedLine::case).collect();
        let cases = all.iter().filter_map(ListedLine::case);
        let cases = cases.map(|name| Listed { name: name.into(), ignored: ignored.contains(name) });
        let word = Word::in_help(&String::from_utf8_lossy(&help.stdout));
        Ok(Self { cases: cases.collect(), listed: all.len(), word })
    }
}

/// What libtest says of itself, and whatever stands in for it.
fn is_harness(help: &Shown) -> bool {
    let text = String::from_utf8_lossy(&help.stdout);
    ["--list", "--exact", "--ignored"].iter().all(|option| text.contains(option))
}

fn end_of(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().collect();
    let mut end = String::new();
    for line in &lines[lines.len().saturating_sub(10)..] {
        let _ = write!(end, "\n    {}", line.escape_debug());
    }
    end
}

fn text_of(shown: &Shown) -> Result<&str> {
    let status: ExitStatus = shown.status();
    ensure!(status.success(), "it ended with {status}");
    std::str::from_utf8(&shown.stdout).context("its list is no text")
}

#[derive(Debug, PartialEq, Eq)]
enum ListedLine<'a> {
    Case(&'a str),
    Benchmark,
}

impl<'a> ListedLine<'a> {
    fn case(&self) -> Option<&'a str> {
        match self {
            ListedLine::Case(name) => Some(name),
            ListedLine::Benchmark => None,
        }
    }
}

/// The terse list of libtest: `NAME: test` or `NAME: benchmark`.
fn parse(text: &str) -> Result<Vec<ListedLine<'_>>> {
    let mut lines = Vec::new();
    let mut names = HashSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.rsplit_once(": ") {
            Some((name, "test")) => {
                ensure!(names.insert(name), "two cases are called `{name}`");
                lines.push(ListedLine::Case(name));
            }
            Some((_, "benchmark")) => lines.push(ListedLine::Benchmark),
            _ => bail!("`{}` is not a case", line.escape_debug()),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terse_list_is_read() {
        let lines = parse("area::one: test\ntwo: test\nfast: benchmark\n").unwrap();
        assert_eq!(
            lines,
            [ListedLine::Case("area::one"), ListedLine::Case("two"), ListedLine::Benchmark]
        );
        assert_eq!(parse("").unwrap(), []);
        for wrong in ["guest tests run only inside a guest", "one: test\ntwo", "a: test\na: test"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

#[cfg(test)]
mod fuzz {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    proptest! {
        #[test]
        fn a_list_is_of_cases_or_refused(words in vec(select(&[
            "a", "b::c", ": ", ":", "test", "benchmark", "\n", "\r", " ", "ä", "- should panic", "0 tests, ",
        ][..]), 0..20)) {
            let text = words.concat();
            if let Ok(lines) = parse(&text) {
                // No line is lost, and each name is one of a line's.
                let tests = text.lines().filter(|line| line.ends_with(": test"));
                let names = lines.iter().filter_map(ListedLine::case);
                prop_assert!(tests.eq(names.map(|name| format!("{name}: test"))), "{text:?}");
                prop_assert_eq!(lines.len(), text.lines().filter(|line| !line.is_empty()).count());
            }
        }
    }
}
