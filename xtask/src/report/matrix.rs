//! Tables of how cases that fail on purpose have to end, on each kernel.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

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

/// The faults of a kernel module. One that is not detected needs a reason.
pub const FAULTS: Rows =
    Rows { binary: "faults", before: "matrix::", after: "", reason: Some("unseen") };

/// Cases that do harm. After each comes one that looks whether it was harmed.
pub const HARM: Rows = Rows { binary: "harmful", before: "", after: "::done", reason: None };

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

    /// Holds the table against a run's JSON lines; says how many ends were as they should.
    ///
    /// # Errors
    /// When one was not, or a row of the table was not run; the message names each.
    pub fn hold_against(&self, lines: &Path) -> Result<usize> {
        let text = fs::read_to_string(lines)
            .with_context(|| format!("cannot read {}", lines.display()))?;
        let found = self.found(&text)?;
        ensure!(!found.is_empty(), "no case of {} was run", self.rows.binary);
        let (mut wrong, mut right) = (Vec::new(), 0);
        for (kernel, ends) in &found {
            for (row, end) in ends {
                let expected = match row {
                    Row::Row(row) => self.end(row, kernel).unwrap_or("nothing"),
                    Row::Other(_) => "pass",
                };
                match agree(expected, end) {
                    true => right += 1,
                    false => wrong.push(format!("{kernel} {row}: {end}, not {expected}")),
                }
            }
            let missing = self.ends.keys().filter(|&row| !ends.contains_key(&Row::Row(row.into())));
            wrong.extend(missing.map(|row| format!("{kernel} {row}: was not run")));
        }
        ensure!(wrong.is_empty(), "not as the table says:\n  {}", wrong.join("\n  "));
        Ok(right)
    }

    /// How each case of the binary ended on each kernel, in the words of the table.
    fn found(&self, text: &str) -> Result<BTreeMap<String, BTreeMap<Row, String>>> {
        let Rows { binary, before, after, .. } = self.rows;
        let mut found: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for line in text.lines() {
            let value: serde_json::Value =
                serde_json::from_str(line).context("a line of the report is no JSON")?;
            if value["event"] != "case" || value["binary"] != binary {
                continue;
            }
            let case: CaseLine = serde_json::from_value(value).context("a case of the report")?;
            let row = case.name.strip_prefix(before).and_then(|name| name.strip_suffix(after));
            let row = match row {
                Some(row) => Row::Row(row.into()),
                None => Row::Other(case.name),
            };
            let word = match case.end.as_str() {
                "passed" => "pass",
                "panicked" => "panic",
                other => other,
            };
            let complaint = case.complaint.map_or_else(String::new, |name| format!(" {name}"));
            found.entry(case.kernel).or_default().insert(row, format!("{word}{complaint}"));
        }
        Ok(found)
    }
}

/// Which case of the binary it is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    /// One that the table is about.
    Row(String),
    /// Another one.
    Other(String),
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Row(name) | Self::Other(name)) = self;
        f.write_str(name)
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

/// What is read of a line.
#[derive(Debug, Deserialize)]
struct CaseLine {
    kernel: String,
    name: String,
    end: String,
    complaint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(rows: Rows, name: &str, end: &str, complaint: &str) -> String {
        let binary = rows.binary;
        format!(
            r#"{{"event":"case","kernel":"k","binary":"{binary}","name":"{name}","end":"{end}","complaint":{complaint}}}"#
        )
    }

    fn hold(rows: Rows, table: &str, lines: &[String]) -> Result<usize> {
        let dir = tempfile::tempdir().unwrap();
        let (matrix, report) = (dir.path().join("matrix.toml"), dir.path().join("report.jsonl"));
        fs::write(&matrix, table).unwrap();
        fs::write(&report, lines.join("\n")).unwrap();
        Matrix::read(&matrix, rows)?.hold_against(&report)
    }

    #[test]
    fn each_end_has_to_be_the_tables() {
        let hold = |lines: &[String]| {
            hold(FAULTS, "[warn]\nk = \"kernel warning\"\n[stack]\nk = \"dies\"\n", lines)
        };
        let case =
            |name: &str, end, complaint| case(FAULTS, &format!("matrix::{name}"), end, complaint);
        let warn = case("warn", "kernel", "\"warning\"");
        let stack = case("stack", "panicked", "\"panic\"");
        assert_eq!(hold(&[warn.clone(), stack.clone()]).unwrap(), 2);
        let other = hold(&[case("warn", "kernel", "\"bug\""), stack.clone()]).unwrap_err();
        assert!(other.to_string().contains("k warn: kernel bug, not kernel warning"), "{other}");
        let green = hold(&[warn.clone(), case("stack", "passed", "null")]).unwrap_err();
        assert!(green.to_string().contains("k stack: pass, not dies"), "{green}");
        let absent = hold(std::slice::from_ref(&warn)).unwrap_err();
        assert!(absent.to_string().contains("k stack: was not run"), "{absent}");
        let unknown = hold(&[warn, stack, case("new", "passed", "null")]).unwrap_err();
        assert!(unknown.to_string().contains("k new: pass, not nothing"), "{unknown}");
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
                case(HARM, "halts::done", end, "null"),
                case(HARM, "halts::harmless", neighbour, "null"),
            ];
            hold(HARM, "[halts]\n\"*\" = \"hung or lost\"\nother = \"pass\"\n", &lines)
        };
        assert_eq!(hold("lost", "passed").unwrap(), 2);
        let harmed = hold("lost", "failed").unwrap_err();
        assert!(harmed.to_string().contains("k halts::harmless: failed, not pass"), "{harmed}");
        assert!(hold("passed", "passed").is_err());
    }
}
