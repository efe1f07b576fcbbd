//! Markdown, for documents: a table of cases by kernels, and why the others did not pass.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape::{code, code_in_cell};
use super::model::CaseResult;
use super::read::RunReport;
use crate::record::CaseEnd;

/// The report of a run.
pub(super) fn text(report: &RunReport) -> String {
    let kernels = report.kernel_names();
    let mut rows: Vec<(String, BTreeMap<&str, &CaseResult>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for case in &report.cases {
        let name = format!("{} {}", case.id.binary, case.name());
        let place = *places.entry(name.clone()).or_insert(rows.len());
        if place == rows.len() {
            rows.push((name, BTreeMap::new()));
        }
        rows[place].1.insert(&case.id.kernel, case);
    }
    let mut out = String::new();
    row(&mut out, "", kernels.iter().map(|kernel| code_in_cell(kernel)));
    row(&mut out, "---", kernels.iter().map(|_| "---".into()));
    for (name, cases) in &rows {
        let word = |kernel: &&str| cases.get(*kernel).map_or("", |case| case.end().word());
        row(&mut out, &code_in_cell(name), kernels.iter().map(|kernel| word(&&**kernel).into()));
    }
    let count = |kernel: &&str| {
        let cases = report.cases.iter().filter(|case| case.id.kernel == **kernel);
        cases.filter(|case| case.end() == CaseEnd::Passed).count().to_string()
    };
    row(&mut out, "passed", kernels.iter().map(|kernel| count(&&**kernel)));
    for (title, is_meant) in
        [("What failed", fails as fn(CaseEnd) -> bool), ("What was left out", is_left_out)]
    {
        reasons(&mut out, title, report.cases.iter().filter(|case| is_meant(case.end())));
    }
    out
}

/// A row of the table.
fn row(out: &mut String, first: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    let _ = writeln!(out, "| {first} | {} |", cells.join(" | "));
}

fn fails(end: CaseEnd) -> bool {
    end.is_failure() || end == CaseEnd::Known
}

fn is_left_out(end: CaseEnd) -> bool {
    matches!(end, CaseEnd::Skipped | CaseEnd::NotRun)
}

/// The reasons, each with the cases that it is of, in the order in which they came.
fn reasons<'a>(out: &mut String, title: &str, cases: impl Iterator<Item = &'a CaseResult>) {
    let mut reasons: Vec<(String, BTreeMap<String, Vec<&str>>)> = Vec::new();
    for case in cases {
        let (word, detail) = (case.end().word(), case.last().detail.as_str());
        let why =
            if detail.is_empty() { word.to_owned() } else { format!("{word}, {}", code(detail)) };
        let place = reasons.iter().position(|(other, _)| *other == why);
        let place = place.unwrap_or_else(|| {
            reasons.push((why, BTreeMap::new()));
            reasons.len() - 1
        });
        let name = format!("{} {}", case.id.binary, case.name());
        reasons[place].1.entry(name).or_default().push(&case.id.kernel);
    }
    if !reasons.is_empty() {
        let _ = writeln!(out, "\n{title}:\n");
    }
    for (why, cases) in reasons {
        let cases =
            cases.iter().map(|(name, kernels)| format!("{} ({})", code(name), kernels.join(", ")));
        let _ = writeln!(out, "- {why}: {}", cases.collect::<Vec<_>>().join(", "));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::report::samples::{case, kernel, sample};

    #[test]
    fn kernels_are_beside_each_other_and_reasons_below() {
        let lines = [
            kernel("3.0"),
            kernel("6.12"),
            case("3.0", "cve", "cve-2017-2671", "panicked").with("detail", "BUG: *x* at `y`"),
            case("6.12", "cve", "cve-2017-2671", "passed"),
            case("3.0", "cve", "a|b", "skipped").with("detail", "no CONFIG_X"),
            case("6.12", "cve", "a|b", "skipped").with("detail", "no CONFIG_X"),
            case("6.12", "cve", "new", "skipped").with("detail", "no CONFIG_X"),
        ];
        expect![[r#"
            |  | `3.0` | `6.12` |
            | --- | --- | --- |
            | `cve cve-2017-2671` | panicked | passed |
            | `cve a\|b` | skipped | skipped |
            | `cve new` |  | skipped |
            | passed | 0 | 1 |

            What failed:

            - panicked, `` BUG: *x* at `y` ``: `cve cve-2017-2671` (3.0)

            What was left out:

            - skipped, `no CONFIG_X`: `cve a|b` (3.0, 6.12), `cve new` (6.12)
        "#]]
        .assert_eq(&text(&sample(&lines).report));
    }
}
