//! The cases of the test binaries, as the binaries themselves list them.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use super::build::TestBinary;
use crate::guest::Program;

/// One `#[test]`.
#[derive(Debug, Clone)]
pub struct Case {
    /// The binary that it is in.
    pub binary: Arc<OpenBinary>,
    /// Its name within the binary, with its modules.
    pub name: String,
    /// Whether it is `#[ignore]`d.
    pub ignored: bool,
}

/// A test binary, ready to be sent to guests.
#[derive(Debug)]
pub struct OpenBinary {
    /// The name of the test target.
    pub name: String,
    /// What guests are sent.
    pub program: Program,
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
pub struct Filter {
    /// A case is wanted if its full name contains any of these; with none, every case is.
    pub words: Vec<String>,
    /// What about ignored ones.
    pub ignored: Ignored,
}

impl Filter {
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
    /// `BINARY NAME`, as it is shown and filtered.
    pub fn full_name(&self) -> String {
        format!("{} {}", self.binary.name, self.name)
    }
}

/// Lists the wanted cases of the binaries, in the order of the binaries and then of their names.
///
/// # Errors
/// When a binary cannot be read or does not list its cases.
pub fn list(binaries: &[TestBinary], filter: &Filter) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for binary in binaries {
        let program = Program::open(&binary.path)?;
        let ignored: HashSet<String> = names(binary, &["--ignored"])?.into_iter().collect();
        let all = names(binary, &[])?;
        let binary = Arc::new(OpenBinary { name: binary.name.clone(), program });
        for name in all {
            let ignored = ignored.contains(&name);
            cases.push(Case { binary: Arc::clone(&binary), name, ignored });
        }
    }
    cases.retain(|case| filter.wants(case));
    Ok(cases)
}

fn names(binary: &TestBinary, more: &[&str]) -> Result<Vec<String>> {
    let mut args = vec!["--list", "--format", "terse"];
    args.extend(more);
    let text = duct::cmd(&binary.path, args)
        .stdin_null()
        .read()
        .with_context(|| format!("{} does not list its cases", binary.path.display()))?;
    parse(&text).with_context(|| format!("in the list of {}", binary.path.display()))
}

/// The terse list of libtest: `NAME: test` or `NAME: benchmark`.
fn parse(text: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (name, kind) = line.rsplit_once(": ").unwrap_or((line, ""));
        ensure!(["test", "benchmark"].contains(&kind), "`{line}` is not a case");
        if kind == "test" {
            ensure!(!names.iter().any(|other| other == name), "two cases are called `{name}`");
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_terse_list_is_read() {
        let names = parse("area::one: test\ntwo: test\nfast: benchmark\n").unwrap();
        assert_eq!(names, ["area::one", "two"]);
        assert_eq!(parse("").unwrap(), [""; 0]);
        for wrong in ["guest tests run only inside a guest", "one: test\ntwo", "a: test\na: test"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_looks_at_the_full_name() {
        let program = Program::open(Path::new("/dev/null")).unwrap();
        let binary = Arc::new(OpenBinary { name: "ext4".into(), program });
        let case =
            |name: &str, ignored| Case { binary: Arc::clone(&binary), name: name.into(), ignored };
        let words = |words: &[&str], ignored| Filter {
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
            if let Ok(names) = parse(&text) {
                // No line is lost, and each name is one of a line's.
                let tests = text.lines().filter(|line| line.ends_with(": test"));
                prop_assert!(tests.eq(names.iter().map(|name| format!("{name}: test"))), "{text:?}");
            }
        }
    }
}
