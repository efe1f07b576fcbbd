//! What GitHub's runner shows of a run: annotations at the files, and the summary of the job.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::compare::Comparison;
use super::escape::{github_data, github_property};
use super::model::{Attempt, CaseResult};
use super::plain;
use super::read::RunReport;

mod summary;

pub(super) use summary::job_summary;

/// The number of annotations of a kind the runner takes from a step.
const ANNOTATIONS: usize = 10;
/// How many lines of evidence an annotation has, of each kind.
const LINES: usize = 12;
/// How much of a line an annotation has.
const COLUMNS: usize = 300;
/// How large the summary of a step may be: a larger one is refused as a whole.
const SUMMARY_LIMIT: usize = 1 << 20;

/// GitHub's runner.
#[derive(Debug)]
pub struct Runner {
    summary: Option<PathBuf>,
}

impl Runner {
    /// The runner that runs us, if one does.
    pub fn found(var: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        (var("GITHUB_ACTIONS")? == "true").then(|| Self {
            summary: var("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from),
        })
    }

    /// Tells it of a run: commands on `out`, where it reads along, and the job's summary in its file.
    ///
    /// # Errors
    /// When the summary cannot be written.
    pub fn tell(
        &self,
        report: &RunReport,
        comparison: Option<&Comparison>,
        out: &mut dyn std::io::Write,
    ) -> Result<()> {
        out.write_all(annotations(report).as_bytes()).context("cannot tell GitHub's runner")?;
        let Some(path) = &self.summary else { return Ok(()) };
        let append = || -> std::io::Result<()> {
            let used = fs::metadata(path).map_or(0, |metadata| metadata.len() as usize);
            let text = job_summary(report, comparison, SUMMARY_LIMIT.saturating_sub(used));
            File::options().append(true).create(true).open(path)?.write_all(text.as_bytes())
        };
        append().with_context(|| format!("cannot write the job's summary, {}", path.display()))
    }
}

/// The commands that annotate failures: each one a line, whatever guests wrote.
pub(super) fn annotations(report: &RunReport) -> String {
    let mut errors: Vec<String> = report
        .troubles()
        .iter()
        .map(|trouble| command("error", &trouble.subject, None, &plain(&trouble.what)))
        .collect();
    let failed = report.cases.iter().filter(|case| case.end().is_failure());
    errors.extend(failed.map(|case| of_case("error", case, case.last())));
    let flaky = report.cases.iter().filter(|case| case.is_flaky());
    let warnings: Vec<String> = flaky
        .map(|case| {
            let failure = case.attempts.iter().find(|attempt| attempt.end.is_failure());
            of_case("warning", case, failure.unwrap_or(case.last()))
        })
        .collect();
    limited("error", errors) + &limited("warning", warnings)
}

fn limited(kind: &str, mut commands: Vec<String>) -> String {
    if commands.len() > ANNOTATIONS {
        let more = commands.len() - (ANNOTATIONS - 1);
        commands.truncate(ANNOTATIONS - 1);
        commands.push(command(
            kind,
            "and more",
            None,
            &format!("{more} more are in the job's summary"),
        ));
    }
    commands.concat()
}

fn of_case(kind: &str, case: &CaseResult, attempt: &Attempt) -> String {
    let mut message = format!("{}: {}", attempt.end.word(), plain(&attempt.detail));
    if case.is_flaky() {
        message = format!("flaky; it passed after it had failed: {message}");
    }
    for (what, excerpt) in [("output", &attempt.output), ("kernel log", &attempt.kernel_log)] {
        let lines: Vec<&str> = excerpt.lines().collect();
        if !lines.is_empty() {
            let _ = write!(message, "\n{what}:");
        }
        for line in telling(&lines, &attempt.detail) {
            let line: String = plain(line).chars().take(COLUMNS).collect();
            let _ = write!(message, "\n| {line}");
        }
    }
    command(kind, &case.full_name(), place(&attempt.output.text), &message)
}

/// The lines that tell most: from the one that the case failed for, if it is there, or the last ones.
fn telling<'a, 'b>(lines: &'b [&'a str], detail: &str) -> &'b [&'a str] {
    // Lines of a kernel's log begin with a time in brackets.
    let words = |line: &'a str| line.split_once("] ").map_or(line, |(_, words)| words).trim();
    let named = |line: &&'a str| words(line).len() > 8 && detail.contains(words(line));
    let last = lines.len().saturating_sub(LINES);
    let first = lines.iter().position(named).unwrap_or(last);
    &lines[first..lines.len().min(first + LINES)]
}

fn command(kind: &str, title: &str, place: Option<(&str, u32)>, message: &str) -> String {
    let mut properties = format!("title={}", github_property(&plain(title)));
    if let Some((file, line)) = place {
        let _ = write!(properties, ",file={},line={line}", github_property(file));
    }
    format!("::{kind} {properties}::{}\n", github_data(message))
}

/// Where a test panicked, as its output says, if that looks like a file of a checkout.
fn place(output: &str) -> Option<(&str, u32)> {
    let (_, after) = output.rsplit_once("panicked at ")?;
    let mut parts = after.lines().next()?.split(':');
    let (file, line) = (parts.next()?, parts.next()?.parse().ok()?);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let inside = !file.starts_with('/') && !file.split('/').any(|part| part == "..");
    (inside && file.ends_with(".rs") && file.chars().all(plain)).then_some((file, line))
}

#[cfg(test)]
mod tests;
