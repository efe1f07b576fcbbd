//! Failures whose cause was found: they do not make a run red, and a case that passes in spite of it does.

use anyhow::{Context as _, Result};
use glob::Pattern;

use super::case_name::CaseName;
use super::verdict::{Outcome, Verdict};
use crate::config::{Config, Known};

/// What is known of cases that fail.
#[derive(Debug)]
pub(super) struct KnownFailures<'a>(Vec<Entry<'a>>);

#[derive(Debug)]
struct Entry<'a> {
    name: &'a str,
    known: &'a Known,
    cases: Vec<Pattern>,
    kernels: Vec<Pattern>,
}

impl<'a> KnownFailures<'a> {
    /// What the configuration says.
    ///
    /// # Errors
    /// When a pattern is none, which the configuration's check does not let pass.
    pub fn of(config: &'a Config) -> Result<Self> {
        let patterns = |texts: &[String]| -> Result<Vec<_>, glob::PatternError> {
            texts.iter().map(|text| Pattern::new(text)).collect()
        };
        let entries = config.known.iter().map(|(name, known)| {
            let (cases, kernels) = (patterns(&known.cases)?, patterns(&known.kernels)?);
            Ok(Entry { name, known, cases, kernels })
        });
        let entries: Result<_, glob::PatternError> = entries.collect();
        entries.map(Self).context("a known failure")
    }

    /// None are.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Judges a verdict by what is known of the case on that kernel.
    pub fn apply(&self, kernel: &str, case: &CaseName, verdict: &mut Verdict) {
        let case = case.to_string();
        let is_one =
            |patterns: &[Pattern], text: &str| patterns.iter().any(|one| one.matches(text));
        let meant =
            |entry: &&Entry<'_>| is_one(&entry.cases, &case) && is_one(&entry.kernels, kernel);
        let mut entries = self.0.iter().filter(meant);
        if verdict.outcome.is_failure() {
            // A case that took too long has no detail.
            let said = format!("{}: {}", verdict.outcome.end().word(), verdict.detail());
            if let Some(entry) = entries.find(|entry| said.contains(&entry.known.says)) {
                let found = std::mem::replace(&mut verdict.outcome, Outcome::Passed);
                let why = entry.known.why.clone();
                verdict.outcome = Outcome::Known { why, found: found.into() };
            }
        } else if verdict.outcome == Outcome::Passed
            && let Some(Entry { name, known, .. }) = entries.find(|entry| !entry.known.sometimes)
        {
            verdict.outcome = Outcome::Failed(format!(
                "it passes, though `known.{name}` says that it does not: take it out there; it says: {}",
                known.why
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apply(kernel: &str, case: &str, outcome: Outcome) -> Outcome {
        let metadata = json!({ "uml": { "known": {
            "clock": { "cases": ["ext4 cl*"], "kernels": ["6.*"], "says": "exit code", "why": "no clock" },
            "slow": { "cases": ["ext4 slow"], "says": "timed-out", "why": "many forks" },
            "luck": { "cases": ["ext4 luck"], "says": "signal", "why": "a race", "sometimes": true },
        } } });
        let config = Config::from_metadata(&metadata).unwrap();
        let known = KnownFailures::of(&config).unwrap();
        let mut verdict = Verdict { outcome, ..Verdict::not_run("") };
        let name = CaseName { binary: "ext4".into(), name: case.into() };
        known.apply(kernel, &name, &mut verdict);
        verdict.outcome
    }

    #[test]
    fn a_failure_is_known_by_its_case_its_kernel_and_what_is_said_of_it() {
        let failed = || Outcome::Failed("exit code 3".into());
        let known = apply("6.12", "clocks", failed());
        assert_eq!(known.to_string(), "no clock (failed: exit code 3)");
        assert!(!known.is_failure());
        assert_eq!(apply("3.0", "clocks", failed()), failed());
        assert_eq!(apply("6.12", "acls", failed()), failed());
        let other = Outcome::Failed("signal 11".into());
        assert_eq!(apply("6.12", "clocks", other.clone()), other);
        assert_eq!(apply("6.12", "clocks", Outcome::TimedOut), Outcome::TimedOut);
        let slow = apply("6.12", "slow", Outcome::TimedOut);
        assert_eq!((slow.is_failure(), &*slow.to_string()), (false, "many forks (timed-out)"));
        let skipped = Outcome::Skipped("not here".into());
        assert_eq!(apply("6.12", "clocks", skipped.clone()), skipped);
    }

    #[test]
    fn who_passes_in_spite_of_it_fails_unless_it_is_a_matter_of_luck() {
        let passes = apply("6.12", "clocks", Outcome::Passed);
        assert!(passes.is_failure() && passes.to_string().contains("`known.clock`"), "{passes}");
        assert_eq!(apply("3.0", "clocks", Outcome::Passed), Outcome::Passed);
        assert_eq!(apply("3.0", "luck", Outcome::Passed), Outcome::Passed);
    }
}
