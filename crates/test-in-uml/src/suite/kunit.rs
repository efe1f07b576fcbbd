//! A kernel's own unit tests (Documentation/dev-tools/kunit): they are in the kernel, and run while it boots.

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
        [one] => one.path(),
        several => suite_of(several).into(),
    };
    vec!["kunit.enable=1".into(), format!("kunit.filter_glob={glob}")]
}

/// The tests of a kernel that listed them while it booted, each `SUITE.TEST`.
pub(super) fn listed(lines: &[LogLine]) -> Vec<String> {
    let lines = lines.iter().map(|line| line.text.as_str());
    let mut suite = "";
    let mut tests = Vec::new();
    for line in lines.skip_while(|line| !line.starts_with("KTAP version ")).skip(1) {
        match line.strip_prefix(suite).and_then(|rest| rest.strip_prefix('.')) {
            Some(_) => tests.push(line.to_owned()),
            // What else is said meanwhile is no name.
            None if line.is_empty() || line.contains(char::is_whitespace) => {}
            None => suite = line,
        }
    }
    tests
}

/// The tests of a kernel out of such a list.
pub(super) fn tests_of<'a>(kernel: &str, list: impl Iterator<Item = &'a str>) -> Vec<KunitTest> {
    let kernel = Arc::<str>::from(kernel);
    let mut tests: Vec<KunitTest> = Vec::new();
    for (suite, test) in list.filter_map(|path| path.split_once('.')) {
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
            [    0.020000] list-kunit\n\
            [    0.020000] list-kunit.list_add\n\
            [    0.030000] VFS: Mounted root\n";
        let lines: Vec<LogLine> = text.lines().map(LogLine::of_boot).collect();
        let list = listed(&lines);
        let tests = tests_of("6.12", list.iter().map(String::as_str));
        let names: Vec<String> = tests.iter().map(|test| test.name().to_string()).collect();
        assert_eq!(
            names,
            ["kunit example.simple_test", "kunit example.a.dot", "kunit list-kunit.list_add"]
        );
        assert_eq!(arguments_to_run(&tests[..1])[1], "kunit.filter_glob=example.simple_test");
        assert_eq!(arguments_to_run(&tests[..2])[1], "kunit.filter_glob=example");
        let orders: Vec<usize> = tests.iter().map(|test| test.order).collect();
        assert_eq!(orders, [0, 1, 0]);
        assert!(listed(&lines[..1]).is_empty());
    }
}
