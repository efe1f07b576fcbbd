//! A run held against an earlier one: what newly fails, what is fixed, what became slower.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::model::{CaseId, CaseResult};
use super::plain;
use super::read::RunReport;
use crate::record::CaseEnd;
use crate::ui::human_duration;

/// A case that passes in both runs is slower when it takes so many times as long …
pub(super) const SLOWER_RATIO: f64 = 1.5;
/// … and so many seconds more: short cases vary much.
pub(super) const SLOWER_SECONDS: f64 = 0.1;

/// How a run differs from an earlier one.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The name of the earlier run.
    pub baseline: String,
    /// The name of the run.
    pub run: String,
    /// How many cases are in both.
    pub in_both: usize,
    /// What fails, and did not fail before; cases that were not there before are among them.
    pub newly_failing: Vec<Change>,
    /// What failed and passes.
    pub fixed: Vec<Change>,
    /// What failed and still does.
    pub still_failing: Vec<Change>,
    /// What was run and is skipped or not run now.
    pub no_longer_run: Vec<Change>,
    /// What passes, and became slower.
    pub slower: Vec<Slower>,
    /// The number of cases the earlier run had and this one has not.
    pub absent: usize,
    /// What makes the run red beside its cases.
    pub troubles: Vec<String>,
}

/// A case that ends otherwise, or as badly as before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The case.
    #[serde(flatten)]
    pub id: CaseId,
    /// How it ended before; none if it was not there.
    pub before: Option<&'static str>,
    /// How it ends.
    pub after: &'static str,
    /// What is known beside the word.
    pub detail: String,
}

/// A case that became slower.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slower {
    /// The case.
    #[serde(flatten)]
    pub id: CaseId,
    /// Seconds before.
    pub before: f64,
    /// Seconds now.
    pub after: f64,
}

/// Holds `run` against `baseline`.
pub fn compare(baseline: &RunReport, run: &RunReport) -> Comparison {
    let (before, after) = (by_id(baseline), by_id(run));
    let mut comparison = Comparison {
        baseline: baseline.run.id.clone(),
        run: run.run.id.clone(),
        in_both: after.keys().filter(|id| before.contains_key(*id)).count(),
        newly_failing: Vec::new(),
        fixed: Vec::new(),
        still_failing: Vec::new(),
        no_longer_run: Vec::new(),
        slower: Vec::new(),
        absent: before.keys().filter(|id| !after.contains_key(*id)).count(),
        troubles: run.troubles().iter().map(ToString::to_string).collect(),
    };
    for (id, cases) in &after {
        let now = Ending::of(cases);
        let then = before.get(id).map(|cases| Ending::of(cases));
        let ran =
            |end: CaseEnd| !matches!(end, CaseEnd::Skipped | CaseEnd::Known | CaseEnd::NotRun);
        let list = match then.as_ref().map(|then| then.end) {
            Some(end) if end.is_failure() && now.end.is_failure() => &mut comparison.still_failing,
            _ if now.end.is_failure() => &mut comparison.newly_failing,
            Some(end) if end.is_failure() && now.end == CaseEnd::Passed => &mut comparison.fixed,
            Some(end) if ran(end) && !ran(now.end) => &mut comparison.no_longer_run,
            _ => {
                let then = then.and_then(|then| then.seconds);
                if let Some((before, after)) = then.zip(now.seconds)
                    && is_slower(before, after)
                {
                    comparison.slower.push(Slower { id: (*id).clone(), before, after });
                }
                continue;
            }
        };
        list.push(Change {
            id: (*id).clone(),
            before: then.map(|then| then.end.word()),
            after: now.end.word(),
            detail: now.detail.to_owned(),
        });
    }
    comparison.slower.sort_by(|one, other| other.gain().total_cmp(&one.gain()));
    comparison
}

/// Returns true if a case that took `before` and now takes `after` seconds became slower.
fn is_slower(before: f64, after: f64) -> bool {
    after >= before * SLOWER_RATIO && after - before >= SLOWER_SECONDS
}

impl Slower {
    fn gain(&self) -> f64 {
        self.after - self.before
    }
}

/// How all repetitions of a case ended together.
struct Ending<'a> {
    /// A failure if one of them failed.
    end: CaseEnd,
    detail: &'a str,
    /// The median of those that passed.
    seconds: Option<f64>,
}

impl<'a> Ending<'a> {
    fn of(cases: &[&'a CaseResult]) -> Self {
        let failed = cases.iter().find(|case| case.end().is_failure());
        let passed = cases.iter().find(|case| case.end() == CaseEnd::Passed);
        let shown = failed.or(passed).unwrap_or(&cases[0]).last();
        let passes = cases.iter().filter(|case| case.end() == CaseEnd::Passed);
        let mut seconds: Vec<f64> = passes.map(|case| case.last().seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let seconds = seconds.get(seconds.len() / 2).copied();
        Self { end: shown.end, detail: &shown.detail, seconds }
    }
}

fn by_id(report: &RunReport) -> BTreeMap<&CaseId, Vec<&CaseResult>> {
    let mut cases: BTreeMap<&CaseId, Vec<&CaseResult>> = BTreeMap::new();
    for case in &report.cases {
        cases.entry(&case.id).or_default().push(case);
    }
    cases
}

impl Comparison {
    /// Returns true if nothing newly fails: of a run that did not come to its end, nobody can say that.
    pub fn is_success(&self) -> bool {
        self.newly_failing.is_empty() && self.troubles.is_empty()
    }

    /// For a person, a line a case.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{:>12} {}", "baseline", self.headline())];
        lines.extend(
            self.troubles.iter().map(|trouble| format!("{:>12} {}", "trouble", plain(trouble))),
        );
        let mut changes = |head: &str, changes: &[Change]| {
            lines.extend(
                changes.iter().map(|change| format!("{head:>12} {}", plain(&change.words()))),
            );
        };
        changes("NEWLY FAILS", &self.newly_failing);
        changes("STILL FAILS", &self.still_failing);
        changes("NO MORE RUN", &self.no_longer_run);
        changes("FIXED", &self.fixed);
        lines.extend(
            self.slower.iter().map(|slower| format!("{:>12} {}", "SLOWER", plain(&slower.words()))),
        );
        lines
    }

    /// The whole of it in a line.
    pub fn headline(&self) -> String {
        let mut words = Vec::new();
        let mut count = |count: usize, word: &str| {
            if count > 0 {
                words.push(format!("{count} {word}"));
            }
        };
        count(self.newly_failing.len(), "newly failing");
        count(self.still_failing.len(), "still failing");
        count(self.no_longer_run.len(), "no longer run");
        count(self.fixed.len(), "fixed");
        count(self.slower.len(), "slower");
        count(self.absent, "not in this run");
        count(self.troubles.len(), "beside the cases");
        if words.is_empty() {
            words.push("no difference".into());
        }
        format!("{}: {}, {} cases in both", self.baseline, words.join(", "), self.in_both)
    }

    /// For a program.
    ///
    /// # Errors
    /// Never: all of it can be written as JSON.
    pub fn json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).context("cannot write the comparison")?;
        Ok(text + "\n")
    }
}

impl Change {
    /// In words, with what a guest said as it said it.
    pub(super) fn words(&self) -> String {
        let CaseId { kernel, binary, name } = &self.id;
        let before = self.before.unwrap_or("not there");
        let mut words = format!("{kernel} {binary} {name}: {before} before, now {}", self.after);
        if !self.detail.is_empty() {
            words += &format!(": {}", self.detail);
        }
        words
    }
}

impl Slower {
    /// In words.
    pub(super) fn words(&self) -> String {
        let CaseId { kernel, binary, name } = &self.id;
        let human =
            |seconds| human_duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        format!(
            "{kernel} {binary} {name}: {} before, now {}",
            human(self.before),
            human(self.after)
        )
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::samples::{case, sample};
    use super::*;

    #[test]
    fn every_change_has_its_list() {
        let before = sample(&[
            case("k", "b", "breaks", "passed"),
            case("k", "b", "broken", "failed"),
            case("k", "b", "mended", "hung"),
            case("k", "b", "skips", "passed"),
            case("k", "b", "slow", "passed"),
            case("k", "b", "a_little_slower", "passed").with("seconds", 0.01),
            case("k", "b", "gone", "passed"),
            case("k", "b", "same", "skipped"),
        ]);
        let after = sample(&[
            case("k", "b", "breaks", "kernel").with("detail", "warning: \u{1b}[2Jx"),
            case("k", "b", "broken", "panicked"),
            case("k", "b", "mended", "failed"),
            case("k", "b", "mended", "passed").with("attempt", 2),
            case("k", "b", "skips", "skipped").with("detail", "no loop"),
            case("k", "b", "slow", "passed").with("seconds", 0.4),
            // Nine times as long, and still nothing.
            case("k", "b", "a_little_slower", "passed").with("seconds", 0.09),
            case("k", "b", "new", "failed"),
            case("k", "b", "same", "skipped"),
        ]);
        let comparison = compare(&before.report, &after.report);
        let lines = comparison.lines();
        expect![[r#"
            "    baseline 1700000000-0: 2 newly failing, 1 still failing, 1 no longer run, 1 fixed, 1 slower, 1 not in this run, 7 cases in both"
            " NEWLY FAILS k b breaks: passed before, now kernel: warning: x"
            " NEWLY FAILS k b new: not there before, now failed"
            " STILL FAILS k b broken: failed before, now panicked"
            " NO MORE RUN k b skips: passed before, now skipped: no loop"
            "       FIXED k b mended: hung before, now passed"
            "      SLOWER k b slow: 0.25s before, now 0.40s"
        "#]]
            .assert_eq(&lines.iter().map(|line| format!("{line:?}\n")).collect::<String>());
        let json: serde_json::Value = serde_json::from_str(&comparison.json().unwrap()).unwrap();
        assert_eq!(json["fixed"][0]["name"], "mended");
        assert_eq!(json["slower"][0]["after"], 0.4);
    }

    #[test]
    fn a_case_fails_if_one_of_its_repetitions_does() {
        let before = sample(&[case("k", "b", "n", "passed"), case("k", "b", "n", "passed")]);
        let after = sample(&[case("k", "b", "n", "failed"), case("k", "b", "n", "passed")]);
        assert_eq!(compare(&before.report, &after.report).newly_failing.len(), 1);
        assert_eq!(compare(&after.report, &before.report).fixed.len(), 1);
    }
}
