//! KTAP, version 1, as `Documentation/dev-tools/ktap.rst` of the kernel has it, for the kernel's own
//! parsers: each kernel is a test, its test binaries are subtests, and their cases are subtests of
//! these.

use std::fmt::Write as _;

use super::model::{Attempt, CaseResult};
use super::plain;
use super::read::RunReport;
use crate::record::{CaseEnd, Trouble};

/// Whether a group of tests is `ok`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sum {
    Ok,
    NotOk,
    /// All that it consists of was skipped.
    Skipped,
}

/// The report of a run.
pub(super) fn text(report: &RunReport) -> String {
    let kernels = report.kernel_names();
    let troubles = report.troubles();
    let mut out = Out::default();
    out.line(
        0,
        &format!("KTAP version 1\n1..{}", kernels.len() + usize::from(!troubles.is_empty())),
    );
    for (place, kernel) in kernels.iter().enumerate() {
        let mut binaries: Vec<&str> = Vec::new();
        let cases = || report.cases.iter().filter(|case| case.id.kernel == **kernel);
        for case in cases() {
            if !binaries.contains(&case.id.binary.as_str()) {
                binaries.push(&case.id.binary);
            }
        }
        out.head(1, kernel, binaries.len());
        let mut sums = Vec::new();
        for (place, binary) in binaries.iter().enumerate() {
            let cases: Vec<_> = cases().filter(|case| case.id.binary == **binary).collect();
            let binary = distinct(binary, kernel);
            out.head(2, &binary, cases.len());
            let of_cases: Vec<Sum> = cases.iter().map(|case| sum_of_case(case.end())).collect();
            for (place, case) in cases.iter().enumerate() {
                out.case(2, place + 1, case, &binary);
            }
            sums.push(out.foot(1, place + 1, &binary, &of_cases));
        }
        out.foot(0, place + 1, kernel, &sums);
    }
    if !troubles.is_empty() {
        out.troubles(kernels.len() + 1, &troubles);
    }
    out.text
}

#[derive(Default)]
struct Out {
    text: String,
}

impl Out {
    fn line(&mut self, depth: usize, lines: &str) {
        for line in lines.lines() {
            // "One level of indentation is two spaces."
            let _ = writeln!(self.text, "{:1$}{line}", "", depth * 2);
        }
    }

    /// The begin of the subtests of `name`.
    fn head(&mut self, depth: usize, name: &str, tests: usize) {
        let name = description(name);
        self.line(depth, &format!("KTAP version 1\n# Subtest: {name}\n1..{tests}"));
    }

    /// The line about a test of which the subtests were written, and what they come to.
    fn foot(&mut self, depth: usize, number: usize, name: &str, sums: &[Sum]) -> Sum {
        let sum = if sums.contains(&Sum::NotOk) {
            Sum::NotOk
        } else if !sums.is_empty() && sums.iter().all(|sum| *sum == Sum::Skipped) {
            Sum::Skipped
        } else {
            Sum::Ok
        };
        let name = description(name);
        match sum {
            Sum::Ok => self.line(depth, &format!("ok {number} {name}")),
            Sum::NotOk => self.line(depth, &format!("not ok {number} {name}")),
            Sum::Skipped => self.line(depth, &format!("ok {number} {name} # SKIP")),
        }
        sum
    }

    /// A case: "diagnostic lines regarding a test are directly before the test result line".
    fn case(&mut self, depth: usize, number: usize, case: &CaseResult, binary: &str) {
        if case.attempts.len() > 1 {
            for (number, attempt) in (1..).zip(&case.attempts) {
                if attempt.end.is_failure() {
                    self.evidence(
                        depth,
                        &format!("attempt {number}: {}", attempt.end.word()),
                        attempt,
                    );
                }
            }
        } else if case.end().is_failure() {
            self.evidence(depth, case.end().word(), case.last());
        }
        let last = case.last();
        let (detail, name) = (data(&last.detail), distinct(&case.name(), binary));
        let directive = match last.end {
            CaseEnd::Passed => String::new(),
            CaseEnd::Skipped => format!(" # SKIP {detail}"),
            CaseEnd::Known => format!(" # XFAIL {detail}"),
            CaseEnd::NotRun => format!(" # SKIP not run: {detail}"),
            CaseEnd::TimedOut => format!(" # TIMEOUT {:.0} seconds", last.seconds),
            // The word keeps a guest's `SKIP` from being a directive.
            end @ (CaseEnd::Failed | CaseEnd::Kernel) => format!(" # {}: {detail}", end.word()),
            end => format!(" # ERROR {}: {detail}", end.word()),
        };
        let is_ok = matches!(last.end, CaseEnd::Passed | CaseEnd::Skipped | CaseEnd::Known);
        let result = if is_ok { "ok" } else { "not ok" };
        self.line(depth, format!("{result} {number} {name}{directive}").trim_end());
    }

    fn evidence(&mut self, depth: usize, head: &str, attempt: &Attempt) {
        let complaint = attempt.complaint.as_deref().unwrap_or_default();
        self.line(depth, format!("# {head} {complaint}").trim_end());
        for (what, excerpt) in [("output", &attempt.output), ("kernel log", &attempt.kernel_log)] {
            if excerpt.lines().next().is_some() {
                self.line(depth, &format!("# {what}:"));
            }
            for line in excerpt.lines() {
                // Without the bar, a guest's `Subtest: x` would be a subtest's head.
                self.line(depth, &format!("# | {}", data(line)));
            }
        }
        for leftover in &attempt.left_behind {
            self.line(depth, &format!("# left behind: {}", data(leftover)));
        }
    }

    /// What makes the run red beside its cases.
    fn troubles(&mut self, number: usize, troubles: &[Trouble]) {
        self.head(1, RUN, troubles.len());
        for (place, trouble) in troubles.iter().enumerate() {
            let (subject, what) = (distinct(&trouble.subject, RUN), data(&trouble.what));
            self.line(1, &format!("not ok {} {subject} # ERROR {what}", place + 1));
        }
        self.foot(0, number, RUN, &[Sum::NotOk]);
    }
}

fn sum_of_case(end: CaseEnd) -> Sum {
    match end {
        CaseEnd::Passed | CaseEnd::Known => Sum::Ok,
        CaseEnd::Skipped => Sum::Skipped,
        // A test that was not run is skipped to a parser, but its parent cannot be `ok`.
        _ => Sum::NotOk,
    }
}

/// What the test is called whose subtests are the troubles of the run.
const RUN: &str = "run";

/// A test's name that is not that of the test which it is a subtest of: `kunit_parser.py` takes such a
/// line for the end of that test.
fn distinct(name: &str, parent: &str) -> String {
    let name = description(name);
    if name == description(parent) { format!("{name} itself") } else { name }
}

/// A test's name: "any string of characters other than # or a newline". A leading `- ` would be
/// taken for the separator of older versions.
fn description(name: &str) -> String {
    let name: String =
        plain(name).replace('#', "_").split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() {
        "unnamed".into()
    } else {
        name.replacen("- ", "_ ", usize::from(name.starts_with("- ")))
    }
}

/// A line of a guest as diagnostic data. `kunit_parser.py` looks for some words *within* a line, and
/// takes them for the begin or the end of all output, so that these are broken up.
fn data(text: &str) -> String {
    const WORDS: [&str; 5] = [
        "TAP version",
        "List of all partitions:",
        "Kernel panic - not syncing: VFS:",
        "reboot: System halted",
        " # SKIP",
    ];
    let mut line = plain(text);
    for words in WORDS {
        if line.contains(words) {
            // A space that does not break looks the same to a person.
            line = line.replace(words, &words.replace(' ', "\u{a0}"));
        }
    }
    line
}

#[cfg(test)]
mod tests;
