//! The cases of the test binaries, as the binaries themselves list them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::listing::Listing;
use super::lists::Lists;
use super::packages::Packages;
use super::programs::{ProgramCase, ProgramSuite, Rules, SuiteProgram};
use super::suites::Suites;
use super::verdict::Asked;
use super::word::Word;
use crate::ctx::Ctx;
use crate::guest::{PackageFolder, Program, TestProgram};
use crate::store::hex;

/// One `#[test]`.
#[derive(Debug, Clone)]
pub struct Case {
    /// The binary that it is in.
    pub binary: Arc<OpenBinary>,
    /// Its name within the binary, with its modules.
    pub name: String,
    /// True if it is `#[ignore]`d.
    pub ignored: bool,
}

/// A test binary, ready to be sent to guests.
#[derive(Debug)]
pub struct OpenBinary {
    /// The name of the test target.
    pub name: String,
    /// What guests are sent.
    pub program: Arc<Program>,
    /// Where it runs, if guests have its package's files.
    pub package: Option<PackageFolder>,
    /// Where its harness says how a case ended.
    pub word: Word,
    /// How many cases and benchmarks it lists, wanted or not.
    pub listed: usize,
    /// What it is of a suite of programs, if it is of one.
    pub of_suite: Option<OfSuite>,
}

/// A program of a suite.
#[derive(Debug)]
pub struct OfSuite {
    /// Where it is called at in guests.
    pub called: String,
    /// What it is called with.
    pub arguments: Vec<String>,
    /// How it says how it ended.
    pub rules: Rules,
    /// The time that it may take, if it is not that of any case.
    pub timeout: Option<Duration>,
    /// The kernel that it is of, if it is of one alone.
    pub kernel: Option<String>,
}

impl OpenBinary {
    /// What a guest is asked to run of it.
    pub fn placed(&self) -> TestProgram<'_> {
        let called = self.of_suite.as_ref().map(|of_suite| of_suite.called.as_str());
        TestProgram { program: &self.program, package: self.package.as_ref(), called }
    }
}

/// Which ignored cases are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Ignored {
    /// None of them.
    #[default]
    Default,
    /// Only them.
    Only,
    /// Them too.
    All,
}

/// Which cases are wanted.
#[derive(Debug, Clone, Default)]
pub struct CaseFilter {
    /// A case is wanted if its full name contains any of these; with none, every case is.
    pub words: Vec<String>,
    /// What about ignored ones.
    pub ignored: Ignored,
}

impl CaseFilter {
    fn wants(&self, case: &Case) -> bool {
        let name = case.full_name();
        let named = self.words.is_empty() || self.words.iter().any(|word| name.contains(word));
        named
            && match self.ignored {
                Ignored::Default => !case.ignored,
                Ignored::Only => case.ignored,
                Ignored::All => true,
            }
    }
}

impl Case {
    /// What a guest is asked to run.
    pub(super) fn asked(&self) -> Asked<'_> {
        let OpenBinary { word, listed, of_suite, .. } = &*self.binary;
        let rules = of_suite.as_ref().map(|of_suite| &of_suite.rules);
        Asked { name: &self.name, word: *word, listed: *listed, rules }
    }

    /// What its binary is called with.
    pub(super) fn args(&self) -> Vec<String> {
        if let Some(of_suite) = &self.binary.of_suite {
            return of_suite.arguments.clone();
        }
        if self.binary.word == Word::ExitCode {
            return Vec::new();
        }
        // Without the last libtest counts CPUs for its one test: twenty system calls.
        let fixed = ["--exact", "--nocapture", "--test-threads=1"];
        let mut args = vec![self.name.clone()];
        args.extend(fixed.map(String::from));
        if self.ignored {
            args.push("--ignored".into());
        }
        args
    }

    /// Returns true if it is run on the kernel of that name.
    pub fn is_for(&self, kernel: &str) -> bool {
        let of_suite = self.binary.of_suite.as_ref();
        of_suite.and_then(|of_suite| of_suite.kernel.as_ref()).is_none_or(|own| own == kernel)
    }

    /// `BINARY NAME`, as it is shown and filtered.
    pub fn full_name(&self) -> String {
        format!("{} {}", self.binary.name, self.name)
    }
}

/// Lists the wanted cases of the binaries, in the order of the binaries and then of their names; after them those of the
/// suites.
///
/// # Errors
/// When a binary cannot be read or does not list its cases.
pub fn list(ctx: &Ctx, suites: &Suites, filter: &CaseFilter) -> Result<Vec<Case>> {
    let Suites { rust, programs } = suites;
    let mut cases = Vec::new();
    let mut lists = Lists::read(&ctx.layout.lists());
    let mut warned = false;
    let packages = Packages::of(ctx, rust, programs)?;
    for binary in &rust.binaries {
        let name = binary.name.clone();
        let program = Program::open(&binary.path)?;
        let listing = lists.get_or(&hex(&program.hash()), || {
            let isolation = ctx.isolation()?;
            if !isolation.has_tmpfs() && !warned {
                ctx.ui.warn(
                    "this host grants no namespaces: what lists cases is held by a filter of system \
                     calls and by limits alone",
                );
                warned = true;
            }
            Listing::of(&ctx.cancel, isolation, binary, &program)
        })?;
        if listing.cases.is_empty() && binary.is_for_tests {
            ctx.ui.warn(&format!("test target `{name}` has no case: nothing of it is tested"));
        }
        let Listing { cases: listed, word, listed: count } = listing;
        let package = packages.folder_of(binary);
        let binary = OpenBinary {
            name,
            program: Arc::new(program),
            package,
            word,
            listed: count,
            of_suite: None,
        };
        let binary = Arc::new(binary);
        cases.extend(listed.into_iter().map(|case| Case {
            binary: Arc::clone(&binary),
            name: case.name,
            ignored: case.ignored,
        }));
    }
    lists.keep()?;
    for suite in programs {
        cases.extend(of_suite(suite, &packages));
    }
    cases.retain(|case| filter.wants(case));
    Ok(cases)
}

/// The cases of a suite of programs.
fn of_suite(suite: &ProgramSuite, packages: &Packages) -> Vec<Case> {
    let mut cases = Vec::new();
    for SuiteProgram { path, program, cases: of_program } in suite.programs() {
        let program = Arc::new(program);
        for ProgramCase { name, arguments, folder, ignored } in of_program {
            let of_suite = OfSuite {
                called: format!("{}/{path}", suite.place()),
                arguments,
                rules: suite.cases.rules.clone(),
                timeout: suite.cases.timeout,
                kernel: suite.kernel.clone(),
            };
            let binary = OpenBinary {
                name: suite.name.clone(),
                program: Arc::clone(&program),
                package: packages.folder_of_suite(suite, &folder),
                word: Word::ExitCode,
                listed: 1,
                of_suite: Some(of_suite),
            };
            cases.push(Case { binary: Arc::new(binary), name, ignored });
        }
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_filter_looks_at_the_full_name() {
        let program = Program::open(Path::new("/dev/null")).unwrap();
        let binary = Arc::new(OpenBinary {
            name: "ext4".into(),
            program: Arc::new(program),
            package: None,
            word: Word::LogFile,
            listed: 2,
            of_suite: None,
        });
        let case =
            |name: &str, ignored| Case { binary: Arc::clone(&binary), name: name.into(), ignored };
        let words = |words: &[&str], ignored| CaseFilter {
            words: words.iter().map(|&word| word.to_owned()).collect(),
            ignored,
        };
        let (plain, slow) = (case("acls", false), case("stress", true));
        assert!(words(&[], Ignored::Default).wants(&plain));
        assert!(words(&["ext4 ac", "zzz"], Ignored::Default).wants(&plain));
        assert!(!words(&["zzz"], Ignored::Default).wants(&plain));
        assert!(!words(&[], Ignored::Default).wants(&slow));
        assert!(words(&[], Ignored::All).wants(&slow));
        assert!(!words(&[], Ignored::Only).wants(&plain));
    }
}
