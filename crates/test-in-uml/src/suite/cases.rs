//! The cases of the test binaries, as the binaries themselves list them.

use std::sync::Arc;

use anyhow::Result;

use super::binary_case::{BinaryCase, OfSuite, OpenBinary};
use super::case_name::CaseName;
use super::kunit::KunitTest;
use super::listing::Listing;
use super::lists::Lists;
use super::packages::Packages;
use super::programs::{ProgramCase, ProgramSuite, SuiteProgram};
use super::suites::Suites;
use super::word::Word;
use crate::ctx::Ctx;
use crate::guest::Program;
use crate::store::hex;

/// A test with a verdict of its own.
#[derive(Debug, Clone)]
pub enum Case {
    /// A test of a binary, or a program.
    Binary(BinaryCase),
    /// A unit test of a kernel.
    Kunit(KunitTest),
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
        let name = case.name().to_string();
        let named = self.words.is_empty() || self.words.iter().any(|word| name.contains(word));
        named
            && match self.ignored {
                Ignored::Default => !case.is_ignored(),
                Ignored::Only => case.is_ignored(),
                Ignored::All => true,
            }
    }
}

impl Case {
    /// What it is called.
    pub fn name(&self) -> CaseName {
        match self {
            Case::Binary(case) => case.name(),
            Case::Kunit(test) => test.name(),
        }
    }

    /// Returns true if it is run on the kernel of that name.
    pub fn is_for(&self, kernel: &str) -> bool {
        match self {
            Case::Binary(case) => case.is_for(kernel),
            Case::Kunit(test) => &*test.kernel == kernel,
        }
    }

    /// The same, if it is a program.
    pub fn into_binary_case(self) -> Option<BinaryCase> {
        match self {
            Case::Binary(case) => Some(case),
            Case::Kunit(_) => None,
        }
    }

    fn is_ignored(&self) -> bool {
        match self {
            Case::Binary(case) => case.ignored,
            Case::Kunit(_) => false,
        }
    }
}

/// Lists the wanted cases of the binaries, in the order of the binaries and then of their names; after them those of the
/// suites, and these unit tests of kernels.
///
/// # Errors
/// When a binary cannot be read or does not list its cases.
pub fn list(
    ctx: &Ctx,
    suites: &Suites,
    kunit: &[KunitTest],
    filter: &CaseFilter,
) -> Result<Vec<Case>> {
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
        cases.extend(listed.into_iter().map(|case| {
            Case::Binary(BinaryCase {
                binary: Arc::clone(&binary),
                test: case.name,
                ignored: case.ignored,
            })
        }));
    }
    lists.keep()?;
    for suite in programs {
        cases.extend(of_suite(suite, &packages).into_iter().map(Case::Binary));
    }
    cases.extend(kunit.iter().cloned().map(Case::Kunit));
    cases.retain(|case| filter.wants(case));
    Ok(cases)
}

/// The cases of a suite of programs.
fn of_suite(suite: &ProgramSuite, packages: &Packages) -> Vec<BinaryCase> {
    let mut cases = Vec::new();
    for SuiteProgram { path, program, cases: of_program } in suite.programs() {
        let program = Arc::new(program);
        for ProgramCase { name, arguments, folder, ignored } in of_program {
            let of_suite = OfSuite {
                called: Some(format!("{}/{path}", suite.place())),
                links: Vec::new(),
                environment: Vec::new(),
                arguments,
                rules: suite.cases.rules.clone(),
                timeout: suite.cases.timeout,
                apart: suite.cases.apart,
                kernel: suite.kernel.clone(),
                needs: suite.cases.needs.clone(),
            };
            let binary = OpenBinary {
                name: suite.name.clone(),
                program: Arc::clone(&program),
                package: packages.folder_of_suite(suite, &folder),
                word: Word::ExitCode,
                listed: 1,
                of_suite: Some(of_suite),
            };
            cases.push(BinaryCase { binary: Arc::new(binary), test: name, ignored });
        }
    }
    cases.sort_by(|one, other| one.test.cmp(&other.test));
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
        let case = |test: &str, ignored| {
            Case::Binary(BinaryCase { binary: Arc::clone(&binary), test: test.into(), ignored })
        };
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
