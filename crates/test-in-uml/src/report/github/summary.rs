//! The summary of a job, in GitHub's Markdown.

use std::fmt::Write as _;

use super::super::compare::Comparison;
use super::super::escape::{html, markdown};
use super::super::model::tally;
use super::super::model::{Attempt, CaseResult};
use super::super::plain;
use super::super::read::RunReport;
use crate::record::Tally;

/// How much evidence of a kind is shown of a failure.
const EVIDENCE: usize = 8 << 10;
/// The number of lines a list has.
const LINES: usize = 200;

/// The summary; what does not fit within `limit` bytes is left out, and said.
pub(in super::super) fn job_summary(
    report: &RunReport,
    comparison: Option<&Comparison>,
    limit: usize,
) -> String {
    let mut out = Limited { text: String::new(), limit, left_out: 0 };
    out.add(&headline(report));
    out.add(&kernels(report));
    let troubles = report.troubles();
    out.add(&list("Beside the cases", troubles.iter().map(ToString::to_string)));
    if let Some(comparison) = comparison {
        out.add(&changes(comparison));
    }
    let flaky = report.cases.iter().filter(|case| case.is_flaky());
    out.add(&list("Flaky", flaky.map(CaseResult::full_name)));
    for case in report.cases.iter().filter(|case| case.end().is_failure()) {
        out.add(&failure(case));
    }
    out.end()
}

/// A text of pieces that are in it as a whole or not at all.
struct Limited {
    text: String,
    limit: usize,
    left_out: usize,
}

/// Room for the line that says what is missing.
const ROOM: usize = 200;

impl Limited {
    fn add(&mut self, piece: &str) {
        if self.text.len() + piece.len() + ROOM <= self.limit {
            self.text.push_str(piece);
        } else {
            self.left_out += 1;
        }
    }

    fn end(mut self) -> String {
        if self.left_out > 0 {
            let line = format!(
                "\n{} more did not fit here; the run's reports have them.\n",
                self.left_out
            );
            if self.text.len() + line.len() <= self.limit {
                self.text.push_str(&line);
            }
        }
        self.text
    }
}

fn headline(report: &RunReport) -> String {
    let sign = if report.is_success() { "✅" } else { "❌" };
    let seconds = report
        .summary
        .as_ref()
        .map_or_else(String::new, |summary| format!(" in {:.1} s", summary.seconds));
    format!("## {sign} {}{seconds}\n\n", report.tally().words())
}

fn kernels(report: &RunReport) -> String {
    let mut text = String::from(
        "| Kernel | Release | Passed | Flaky | Failed | Skipped | Known | Not run |\n",
    );
    text += "|---|---|--:|--:|--:|--:|--:|--:|\n";
    for name in report.kernel_names() {
        let Tally { passed, flaky, failed, skipped, known, not_run } =
            tally(report.cases.iter().filter(|case| case.id.kernel == name));
        let kernel = report.kernels.iter().find(|kernel| kernel.kernel == name);
        let release = kernel.map_or("", |kernel| kernel.release.as_str());
        let (name, release) = (markdown(name), markdown(release));
        let _ = writeln!(
            text,
            "| {name} | {release} | {passed} | {flaky} | {failed} | {skipped} | {known} | {not_run} |"
        );
    }
    text + "\n"
}

fn list(head: &str, items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() {
        return String::new();
    }
    let mut text = format!("### {head}\n\n");
    for item in items.iter().take(LINES) {
        let _ = writeln!(text, "- {}", markdown(item));
    }
    if items.len() > LINES {
        let _ = writeln!(text, "- … and {} more", items.len() - LINES);
    }
    text + "\n"
}

fn changes(comparison: &Comparison) -> String {
    let mut text = format!("### Against run {}\n\n", markdown(&comparison.headline()));
    for (head, changes) in [
        ("Newly failing", &comparison.newly_failing),
        ("No longer run", &comparison.no_longer_run),
        ("Fixed", &comparison.fixed),
    ] {
        text += &list(head, changes.iter().map(|change| change.words()));
    }
    text + &list("Slower", comparison.slower.iter().map(|slower| slower.words()))
}

fn failure(case: &CaseResult) -> String {
    let last = case.last();
    let head = format!("{} — {}", case.full_name(), last.end.word());
    let detail = if last.detail.is_empty() { String::new() } else { format!(": {}", last.detail) };
    let tries = match case.attempts.len() {
        1 => String::new(),
        tries => format!(" ({tries} attempts)"),
    };
    let mut text =
        format!("<details><summary>{}{tries}</summary>\n\n", markdown(&format!("{head}{detail}")));
    text += &evidence(last);
    text + "</details>\n\n"
}

/// Evidence in a `pre` of its own, which ends nowhere but at its own end tag: what guests wrote has
/// none.
fn evidence(attempt: &Attempt) -> String {
    let mut text = String::new();
    for (what, excerpt) in [("Output", &attempt.output), ("Kernel log", &attempt.kernel_log)] {
        if excerpt.lines().next().is_none() {
            continue;
        }
        let _ = write!(text, "{what}:\n\n<pre>\n");
        for line in excerpt.shortened(EVIDENCE).lines() {
            let _ = writeln!(text, "| {}", html(&plain(line)));
        }
        text += "</pre>\n\n";
    }
    text
}
