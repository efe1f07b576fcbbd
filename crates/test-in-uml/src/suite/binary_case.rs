//! Cases that are programs, or in one.

use std::sync::Arc;
use std::time::Duration;

use super::case_name::CaseName;
use super::inject::Inject;
use super::programs::Rules;
use super::verdict::Asked;
use super::word::Word;
use crate::guest::{PackageFolder, Program, TestProgram};
use crate::kernel::KernelBinary;

/// One `#[test]`, or a program of a suite.
#[derive(Debug, Clone)]
pub struct BinaryCase {
    /// The binary that it is in.
    pub binary: Arc<OpenBinary>,
    /// Its name within the binary, with its modules.
    pub test: String,
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
    /// Where it is called at in guests, if that matters to it.
    pub called: Option<String>,
    /// Links that it needs in guests: where, and to what.
    pub links: Vec<(String, String)>,
    /// What it has in its environment beside what every case has, and its package.
    pub environment: Vec<(String, String)>,
    /// What it is called with.
    pub arguments: Vec<String>,
    /// How it says how it ended.
    pub rules: Rules,
    /// The time that it may take, if it is not that of any case.
    pub timeout: Option<Duration>,
    /// True if it shares its guest with no other case.
    pub apart: bool,
    /// The kernel that it is of, if it is of one alone.
    pub kernel: Option<String>,
    /// What a kernel's configuration has to have for it.
    pub needs: Vec<String>,
}

impl OpenBinary {
    /// What a guest is asked to run of it.
    pub fn placed(&self) -> TestProgram<'_> {
        let called = self.of_suite.as_ref().and_then(|of_suite| of_suite.called.as_deref());
        let links = self.of_suite.as_ref().map_or(&[][..], |of_suite| &of_suite.links);
        TestProgram { program: &self.program, package: self.package.as_ref(), called, links }
    }
}

impl BinaryCase {
    /// What a guest is asked to run.
    pub(super) fn asked<'a>(&'a self, injected: Option<&'a Inject>) -> Asked<'a> {
        let OpenBinary { word, listed, of_suite, .. } = &*self.binary;
        let rules = of_suite.as_ref().map(|of_suite| &of_suite.rules);
        Asked { name: &self.test, word: *word, listed: *listed, rules, injected }
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
        let mut args = vec![self.test.clone()];
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

    /// What it needs of a kernel that has not got it.
    pub fn lacks(&self, kernel: &KernelBinary) -> Option<&str> {
        let mut needs = self.binary.of_suite.iter().flat_map(|of_suite| &of_suite.needs);
        needs.find(|symbol| !kernel.has(symbol)).map(String::as_str)
    }

    /// What it is called.
    pub fn name(&self) -> CaseName {
        CaseName { binary: self.binary.name.clone(), name: self.test.clone() }
    }
}
