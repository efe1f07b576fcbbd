//! The fault matrix: how each case that runs into a fault has to end, on each kernel.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Where the cases are that the table is about.
const BINARY: &str = "faults";
const MODULE: &str = "matrix::";

/// The table: for each fault the end on each kernel, and why some kernels cannot see it.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Matrix(BTreeMap<String, BTreeMap<String, String>>);

/// The key of a fault's table that is no kernel.
const UNSEEN: &str = "unseen";

impl Matrix {
    /// Reads the table.
    ///
    /// # Errors
    /// When it cannot be read, or an undetected fault comes without a reason.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let matrix: Self =
            toml::from_str(&text).with_context(|| format!("{} is no table", path.display()))?;
        for (fault, ends) in &matrix.0 {
            let unseen = ends.iter().any(|(kernel, end)| kernel != UNSEEN && end == "pass");
            ensure!(
                !unseen || ends.contains_key(UNSEEN),
                "{}: {fault} passes somewhere, and `{UNSEEN}` does not say why",
                path.display()
            );
        }
        Ok(matrix)
    }

    /// The kernels that it speaks of.
    pub fn kernels(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.0.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| *name != UNSEEN);
        names
    }

    /// How a fault has to end on a kernel, in the table's words.
    pub fn end(&self, fault: &str, kernel: &str) -> Option<&str> {
        self.0.get(fault)?.get(kernel).map(String::as_str)
    }

    /// Holds the table against a run's JSON lines; says how many ends were as they should.
    ///
    /// # Errors
    /// When one was not, or a fault of the table was not run; the message names each.
    pub fn hold_against(&self, lines: &Path) -> Result<usize> {
        let text = fs::read_to_string(lines)
            .with_context(|| format!("cannot read {}", lines.display()))?;
        let found = ends(&text)?;
        let mut kernels: Vec<&str> = found.keys().map(|(kernel, _)| kernel.as_str()).collect();
        kernels.dedup();
        ensure!(!kernels.is_empty(), "no case of {BINARY} {MODULE} was run");
        let (mut wrong, mut right) = (Vec::new(), 0);
        for kernel in kernels {
            for (fault, ends) in &self.0 {
                let expected = ends.get(kernel).map_or("nothing", String::as_str);
                let key = (kernel.to_owned(), fault.clone());
                match found.get(&key) {
                    Some(end) if agree(expected, end) => right += 1,
                    Some(end) => wrong.push(format!("{kernel} {fault}: {end}, not {expected}")),
                    None => wrong.push(format!("{kernel} {fault}: was not run")),
                }
            }
        }
        ensure!(wrong.is_empty(), "not as the table says:\n  {}", wrong.join("\n  "));
        Ok(right)
    }
}

fn agree(expected: &str, end: &str) -> bool {
    let word = end.split(' ').next().unwrap_or(end);
    match expected {
        // A kernel that is lost may complain of anything, or of nothing.
        "dies" => ["panic", "hung", "lost"].contains(&word),
        expected => expected == end,
    }
}

/// What is read of a line.
#[derive(Debug, Deserialize)]
struct CaseLine {
    kernel: String,
    binary: String,
    name: String,
    end: String,
    complaint: Option<String>,
}

/// How each fault ended on each kernel, in the words of the table.
fn ends(text: &str) -> Result<BTreeMap<(String, String), String>> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).context("a line of the report is no JSON")?;
        if value["event"] != "case" {
            continue;
        }
        let case: CaseLine = serde_json::from_value(value).context("a case of the report")?;
        let Some(fault) = case.name.strip_prefix(MODULE) else { continue };
        if case.binary != BINARY {
            continue;
        }
        let word = match case.end.as_str() {
            "passed" => "pass",
            "panicked" => "panic",
            other => other,
        };
        let complaint = case.complaint.map_or_else(String::new, |name| format!(" {name}"));
        found.insert((case.kernel, fault.to_owned()), format!("{word}{complaint}"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, end: &str, complaint: &str) -> String {
        format!(
            r#"{{"event":"case","kernel":"k","binary":"faults","name":"matrix::{name}","end":"{end}","complaint":{complaint}}}"#
        )
    }

    fn hold(table: &str, lines: &[String]) -> Result<usize> {
        let dir = tempfile::tempdir().unwrap();
        let (matrix, report) = (dir.path().join("matrix.toml"), dir.path().join("report.jsonl"));
        fs::write(&matrix, table).unwrap();
        fs::write(&report, lines.join("\n")).unwrap();
        Matrix::read(&matrix)?.hold_against(&report)
    }

    #[test]
    fn each_end_has_to_be_the_tables() {
        let table = "[warn]\nk = \"kernel warning\"\n[stack]\nk = \"dies\"\n";
        let warn = case("warn", "kernel", "\"warning\"");
        let stack = case("stack", "panicked", "\"panic\"");
        assert_eq!(hold(table, &[warn.clone(), stack.clone()]).unwrap(), 2);
        let other = hold(table, &[case("warn", "kernel", "\"bug\""), stack]).unwrap_err();
        assert!(other.to_string().contains("k warn: kernel bug, not kernel warning"), "{other}");
        let green = hold(table, &[warn.clone(), case("stack", "passed", "null")]).unwrap_err();
        assert!(green.to_string().contains("k stack: pass, not dies"), "{green}");
        let absent = hold(table, &[warn]).unwrap_err();
        assert!(absent.to_string().contains("k stack: was not run"), "{absent}");
    }

    #[test]
    fn what_is_not_seen_needs_a_reason() {
        let error = hold("[leak]\nk = \"pass\"\n", &[]).unwrap_err().to_string();
        assert!(error.contains("leak") && error.contains("why"), "{error}");
    }
}
