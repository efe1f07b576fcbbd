//! Tables of how cases that fail on purpose have to end, on each kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::model::{Attempt, CaseResult};
use super::read::RunReport;
use crate::record::CaseEnd;

/// Which cases a table is about: those of a binary whose names are a row's between these two. All
/// others of that binary have to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    binary: &'static str,
    before: &'static str,
    after: &'static str,
    /// What has to say why a row passes somewhere, if anything.
    reason: Option<&'static str>,
}

impl Rows {
    /// The row that a case of the binary is of, if it is of one.
    fn row_of(self, name: &str) -> Option<&str> {
        name.strip_prefix(self.before)?.strip_suffix(self.after)
    }
}

/// The faults of a kernel module. One that is not detected needs a reason.
pub const FAULTS: Rows =
    Rows { binary: "faults", before: "matrix::", after: "", reason: Some("unseen") };

/// Cases that do harm. After each comes one that looks whether it was harmed.
pub const HARM: Rows = Rows { binary: "harmful", before: "", after: "::done", reason: None };

/// Second halves of pairs of cases: a fault after the same one was declared. One that is not detected
/// needs a reason.
pub const TWINS: Rows =
    Rows { binary: "twins", before: "", after: "::undeclared", reason: Some("unseen") };

/// Stands for every kernel that a row does not name.
const EVERY: &str = "*";

/// A table: for each row the end on each kernel, and why some kernels cannot see it.
#[derive(Debug)]
pub struct Matrix {
    rows: Rows,
    ends: BTreeMap<String, BTreeMap<String, String>>,
}

impl Matrix {
    /// Reads the table.
    ///
    /// # Errors
    /// When it cannot be read, or an undetected fault comes without a reason.
    pub fn read(path: &Path, rows: Rows) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let ends: BTreeMap<String, BTreeMap<String, String>> =
            toml::from_str(&text).with_context(|| format!("{} is no table", path.display()))?;
        for (row, ends) in &ends {
            let Some(reason) = rows.reason else { continue };
            let passes = ends.iter().any(|(kernel, end)| kernel != reason && end == "pass");
            ensure!(
                !passes || ends.contains_key(reason),
                "{}: {row} passes somewhere, and `{reason}` does not say why",
                path.display()
            );
        }
        Ok(Self { rows, ends })
    }

    /// The kernels that it names.
    pub fn kernels(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.ends.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| ![Some(EVERY), self.rows.reason].contains(&Some(*name)));
        names
    }

    /// How a row has to end on a kernel, in the table's words.
    pub fn end(&self, row: &str, kernel: &str) -> Option<&str> {
        let ends = self.ends.get(row)?;
        ends.get(kernel).or_else(|| ends.get(EVERY)).map(String::as_str)
    }

    /// Holds the table against a run, each attempt at each case; says how many ends were as they should.
    ///
    /// # Errors
    /// When one was not, or a row of the table was not run; the message names each.
    pub fn hold_against(&self, run: &RunReport) -> Result<usize> {
        let cases = run.cases.iter().filter(|case| case.id.binary == self.rows.binary);
        let (mut seen, mut right) = (BTreeMap::<_, BTreeSet<_>>::new(), 0);
        let mut wrong = Vec::new();
        for CaseResult { id, attempts, .. } in cases {
            let row = self.rows.row_of(&id.name);
            let expected = row.map_or("pass", |row| self.end(row, &id.kernel).unwrap_or("nothing"));
            for end in attempts.iter().map(words_for) {
                match agree(expected, &end) {
                    true => right += 1,
                    false => wrong.push(format!("{id}: {end}, not {expected}")),
                }
            }
            seen.entry(&id.kernel).or_default().extend(row);
        }
        ensure!(!seen.is_empty(), "no case of {} was run", self.rows.binary);
        for (kernel, rows) in seen {
            let missing = self.ends.keys().filter(|row| !rows.contains(row.as_str()));
            wrong.extend(missing.map(|row| format!("{kernel} {row}: was not run")));
        }
        ensure!(wrong.is_empty(), "not as the table says:\n  {}", wrong.join("\n  "));
        Ok(right)
    }
}

/// How a case ended, in the words of a table.
fn words_for(attempt: &Attempt) -> String {
    let word = match attempt.end {
        CaseEnd::Passed => "pass",
        CaseEnd::Panicked => "panic",
        other => other.word(),
    };
    match &attempt.complaint {
        Some(name) => format!("{word} {name}"),
        None => word.into(),
    }
}

fn agree(expected: &str, end: &str) -> bool {
    let word = end.split(' ').next().unwrap_or(end);
    expected.split(" or ").any(|expected| match expected {
        // A kernel that is lost may complain of anything, or of nothing.
        "dies" => ["panic", "hung", "lost"].contains(&word),
        expected => expected == end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{self, Line};

    fn case(rows: Rows, name: &str, end: &str, complaint: Option<&str>) -> Line {
        samples::case("k", rows.binary, name, end).with("complaint", complaint)
    }

    fn hold(rows: Rows, table: &str, lines: &[Line]) -> Result<usize> {
        let dir = tempfile::tempdir().unwrap();
        let matrix = dir.path().join("matrix.toml");
        fs::write(&matrix, table).unwrap();
        Matrix::read(&matrix, rows)?.hold_against(&samples::sample(lines).report)
    }

    #[test]
    fn each_end_has_to_be_the_tables() {
        let hold = |lines: &[Line]| {
            hold(FAULTS, "[warn]\nk = \"kernel warning\"\n[stack]\nk = \"dies\"\n", lines)
        };
        let case =
            |name: &str, end, complaint| case(FAULTS, &format!("matrix::{name}"), end, complaint);
        let warn = case("warn", "kernel", Some("warning"));
        let stack = case("stack", "panicked", Some("panic"));
        assert_eq!(hold(&[warn.clone(), stack.clone()]).unwrap(), 2);
        let other = hold(&[case("warn", "kernel", Some("bug")), stack.clone()]).unwrap_err();
        assert!(
            other.to_string().contains("k faults matrix::warn: kernel bug, not kernel warning"),
            "{other}"
        );
        let green = hold(&[warn.clone(), case("stack", "passed", None)]).unwrap_err();
        assert!(green.to_string().contains("k faults matrix::stack: pass, not dies"), "{green}");
        let absent = hold(std::slice::from_ref(&warn)).unwrap_err();
        assert!(absent.to_string().contains("k stack: was not run"), "{absent}");
        let unknown = hold(&[warn, stack, case("new", "passed", None)]).unwrap_err();
        assert!(
            unknown.to_string().contains("k faults matrix::new: pass, not nothing"),
            "{unknown}"
        );
    }

    #[test]
    fn what_is_not_seen_needs_a_reason() {
        let error = hold(FAULTS, "[leak]\nk = \"pass\"\n", &[]).unwrap_err().to_string();
        assert!(error.contains("leak") && error.contains("why"), "{error}");
    }

    #[test]
    fn whoever_is_next_to_harm_has_to_pass() {
        let hold = |end, neighbour| {
            let lines = [
                case(HARM, "halts::done", end, None),
                case(HARM, "halts::harmless", neighbour, None),
            ];
            hold(HARM, "[halts]\n\"*\" = \"hung or lost\"\nother = \"pass\"\n", &lines)
        };
        assert_eq!(hold("lost", "passed").unwrap(), 2);
        let harmed = hold("lost", "failed").unwrap_err();
        assert!(
            harmed.to_string().contains("k harmful halts::harmless: failed, not pass"),
            "{harmed}"
        );
        assert!(hold("passed", "passed").is_err());
    }
}
