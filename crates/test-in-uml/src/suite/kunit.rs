//! A kernel's own unit tests (Documentation/dev-tools/kunit): they are in the kernel, and run while it boots.

use std::collections::HashMap;
use std::sync::Arc;

use super::case_name::CaseName;
use crate::config::KUNIT;
use crate::guest::kernel_line::LogLine;

mod results;

pub(super) use results::{Reached, Results};

/// A unit test of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KunitTest {
    /// The kernel's name in the configuration.
    pub kernel: Arc<str>,
    /// The suite that it is in.
    pub suite: Arc<str>,
    /// Its name there.
    pub test: String,
    /// Its place among the suite's tests, from 0.
    pub order: usize,
}

impl KunitTest {
    /// `SUITE.TEST`, as the kernel lists it, and takes it.
    pub fn path(&self) -> String {
        format!("{}.{}", self.suite, self.test)
    }

    /// What it is called.
    pub fn name(&self) -> CaseName {
        CaseName { binary: KUNIT.into(), name: self.path() }
    }
}

/// What is shown while these tests run, which are of one suite.
pub(super) fn name_of(tests: &[KunitTest]) -> String {
    match tests {
        [one] => one.name().to_string(),
        several => format!("{KUNIT} {}", suite_of(several)),
    }
}

fn suite_of(tests: &[KunitTest]) -> &str {
    tests.first().map_or("", |test| &test.suite)
}

/// What a kernel is given that is to list its unit tests instead of running them.
pub(super) fn arguments_to_list() -> Vec<String> {
    vec!["kunit.enable=1".into(), "kunit.action=list".into()]
}

/// What a kernel is given that is to run these tests, which are of one suite; if they are several, it runs all of that.
pub(super) fn arguments_to_run(tests: &[KunitTest]) -> Vec<String> {
    let glob = match tests {
        [one] => {
            format!("{}.{}", as_glob(&one.suite), one.test.split('#').next().unwrap_or_default())
        }
        several => as_glob(suite_of(several)),
    };
    // Newer kernels do not run them at boot without the second; older ones know no such parameter.
    vec!["kunit.enable=1".into(), "kunit.autorun=1".into(), format!("kunit.filter_glob={glob}")]
}

/// A suite's name where the kernel takes a pattern: it ends at the first dot.
fn as_glob(suite: &str) -> String {
    suite.replace('.', "?")
}

/// What the tests of a suite are called one after another: of several of one name, the second is `NAME#2`.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, usize>);

impl Names {
    /// The name of the next one, which the kernel calls so.
    pub fn next(&mut self, name: &str) -> String {
        let count = self.0.entry(name.into()).or_default();
        *count += 1;
        if *count == 1 { name.into() } else { format!("{name}#{count}") }
    }
}

/// The tests of a kernel that listed them while it booted, each `SUITE<TAB>TEST`.
pub(super) fn listed(lines: &[LogLine]) -> Vec<String> {
    let lines = lines.iter().map(|line| line.text.as_str());
    let (mut suite, mut names) = ("", Names::default());
    let mut tests = Vec::new();
    for line in lines.skip_while(|line| !line.starts_with("KTAP version ")).skip(1) {
        match line.strip_prefix(suite).and_then(|rest| rest.strip_prefix('.')) {
            Some(test) => tests.push(format!("{suite}\t{}", names.next(test))),
            // What else is said meanwhile is no name.
            None if line.is_empty() || line.contains(char::is_whitespace) => {}
            None => (suite, names) = (line, Names::default()),
        }
    }
    tests
}

/// The tests of a kernel out of such a list.
pub(super) fn tests_of<'a>(kernel: &str, list: impl Iterator<Item = &'a str>) -> Vec<KunitTest> {
    let kernel = Arc::<str>::from(kernel);
    let mut tests: Vec<KunitTest> = Vec::new();
    for (suite, test) in list.filter_map(|path| path.split_once('\t')) {
        let before = tests.last().filter(|before| &*before.suite == suite);
        let (suite, order) = match before {
            Some(before) => (Arc::clone(&before.suite), before.order + 1),
            None => (suite.into(), 0),
        };
        tests.push(KunitTest { kernel: Arc::clone(&kernel), suite, test: test.into(), order });
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_lists_its_tests_suite_by_suite() {
        let text = "\
            [    0.010000] Linux version 6.12\n\
            [    0.020000] KTAP version 1\n\
            [    0.020000] example\n\
            [    0.020000] example.simple_test\n\
            [    0.020000] random: crng init done\n\
            [    0.020000] example.a.dot\n\
            [    0.020000] macros.h\n\
            [    0.020000] macros.h.closest\n\
            [    0.020000] macros.h.closest\n\
            [    0.030000] VFS: Mounted root\n";
        let lines: Vec<LogLine> = text.lines().map(LogLine::of_boot).collect();
        let list = listed(&lines);
        let tests = tests_of("6.12", list.iter().map(String::as_str));
        let names: Vec<String> = tests.iter().map(|test| test.name().to_string()).collect();
        assert_eq!(
            names,
            [
                "kunit example.simple_test",
                "kunit example.a.dot",
                "kunit macros.h.closest",
                "kunit macros.h.closest#2"
            ]
        );
        assert_eq!(arguments_to_run(&tests[..1])[2], "kunit.filter_glob=example.simple_test");
        assert_eq!(arguments_to_run(&tests[..2])[2], "kunit.filter_glob=example");
        let orders: Vec<usize> = tests.iter().map(|test| test.order).collect();
        assert_eq!(orders, [0, 1, 0, 1]);
        assert_eq!(arguments_to_run(&tests[3..])[2], "kunit.filter_glob=macros?h.closest");
        assert!(listed(&lines[..1]).is_empty());
    }
}
