//! The cases of the test binaries, as the binaries themselves list them.

use std::sync::Arc;

use anyhow::Result;

use super::build::Built;
use super::listing::Listing;
use super::lists::Lists;
use super::packages::Packages;
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
    pub program: Program,
    /// Where it runs, if guests have its package's files.
    pub package: Option<PackageFolder>,
    /// Where its harness says how a case ended.
    pub word: Word,
    /// How many cases and benchmarks it lists, wanted or not.
    pub listed: usize,
}

impl OpenBinary {
    /// What a guest is asked to run of it.
    pub fn placed(&self) -> TestProgram<'_> {
        TestProgram { program: &self.program, package: self.package.as_ref() }
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
        Asked { name: &self.name, word: self.binary.word, listed: self.binary.listed }
    }

    /// What its binary is called with.
    pub(super) fn args(&self) -> Vec<String> {
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

    /// `BINARY NAME`, as it is shown and filtered.
    pub fn full_name(&self) -> String {
        format!("{} {}", self.binary.name, self.name)
    }
}

/// Lists the wanted cases of the binaries, in the order of the binaries and then of their names.
///
/// # Errors
/// When a binary cannot be read or does not list its cases.
pub fn list(ctx: &Ctx, built: &Built, filter: &CaseFilter) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut lists = Lists::read(&ctx.layout.lists());
    let mut warned = false;
    let packages = Packages::of(ctx, built)?;
    for binary in &built.binaries {
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
        let binary = Arc::new(OpenBinary { name, program, package, word, listed: count });
        cases.extend(listed.into_iter().map(|case| Case {
            binary: Arc::clone(&binary),
            name: case.name,
            ignored: case.ignored,
        }));
    }
    lists.keep()?;
    cases.retain(|case| filter.wants(case));
    Ok(cases)
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
            program,
            package: None,
            word: Word::LogFile,
            listed: 2,
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
