//! The table of cases by kernels, for a run with several kernels.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::CaseLine;

/// What is kept of each case: its word on each kernel.
#[derive(Debug, Default)]
pub(super) struct Grid {
    kernels: BTreeSet<String>,
    rows: BTreeMap<String, Row>,
}

#[derive(Debug, Default)]
struct Row {
    words: BTreeMap<String, &'static str>,
    failed: bool,
}

impl Grid {
    /// Takes a case that is over. A failure of one repetition is the word on all.
    pub fn add(&mut self, case: &CaseLine) {
        self.put(&case.kernel, case.full_name(), case.end.label(), case.end.is_failure());
    }

    fn put(&mut self, kernel: &str, case: String, word: &'static str, failed: bool) {
        self.kernels.insert(kernel.to_owned());
        let row = self.rows.entry(case).or_default();
        if failed || !row.failed {
            row.words.insert(kernel.to_owned(), word);
        }
        row.failed |= failed;
    }

    /// The table, without the cases that ended the same way everywhere: nothing for one kernel, or
    /// where there is nothing to tell apart.
    pub fn lines(&self) -> Vec<String> {
        let differs = |row: &&Row| {
            let words: BTreeSet<_> =
                self.kernels.iter().map(|kernel| row.words.get(kernel)).collect();
            row.failed || words.len() > 1
        };
        let rows: Vec<_> = self.rows.iter().filter(|(_, row)| differs(row)).collect();
        if self.kernels.len() < 2 || rows.is_empty() {
            return Vec::new();
        }
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let columns: Vec<usize> =
            self.kernels.iter().map(|kernel| kernel.chars().count().max(7)).collect();
        let line = |name: &str, cells: Vec<&str>| {
            let cells: String = cells
                .iter()
                .zip(&columns)
                .map(|(cell, width)| format!("  {cell:<width$}"))
                .collect();
            format!("  {name:<width$}{cells}").trim_end().to_owned()
        };
        let mut lines = vec![line("", self.kernels.iter().map(String::as_str).collect())];
        for (name, row) in rows {
            let word = |kernel| row.words.get(kernel).copied().unwrap_or("-");
            lines.push(line(name, self.kernels.iter().map(word).collect()));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn it_shows_what_kernels_differ_in() {
        let mut grid = Grid::default();
        for (kernel, case, word, failed) in [
            ("3.0", "ext4 acls", "PASS", false),
            ("6.12", "ext4 acls", "PASS", false),
            ("3.0", "ext4 quota", "SKIP", false),
            ("6.12", "ext4 quota", "PASS", false),
            ("6.12", "net bulk", "PANIC", true),
            ("6.12", "net bulk", "PASS", false),
        ] {
            grid.put(kernel, case.into(), word, failed);
        }
        // Quoted, since an indentation that all lines have is not compared.
        let lines = grid.lines();
        expect![[r#"
            "              3.0      6.12"
            "  ext4 quota  SKIP     PASS"
            "  net bulk    -        PANIC"
        "#]]
        .assert_eq(&lines.iter().map(|line| format!("{line:?}\n")).collect::<String>());
    }

    #[test]
    fn one_kernel_needs_no_table() {
        let mut grid = Grid::default();
        grid.put("6.12", "a b".into(), "FAIL", true);
        assert!(grid.lines().is_empty());
    }
}
