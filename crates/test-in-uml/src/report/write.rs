//! All that is made of a run's JSON lines, be the run just over, long over or merged.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::compare::{Comparison, compare};
use super::github::Runner;
use super::html::{PageContext, TextLimits, Texts};
use super::read::RunReport;
use super::{html, junit, ktap, markdown, plain};
use crate::runs::{self, RunFiles};

/// What a run can be shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A page for a browser.
    Html,
    /// The kernel's KTAP.
    Ktap,
    /// JUnit's XML.
    Junit,
    /// A table for documents.
    Markdown,
}

/// How many runs before it the page of a run shows the durations of, …
const EARLIER: usize = 8;
/// … and how many bytes of lines are read for that: the end of a run should not wait for the past.
const EARLIER_BYTES: u64 = 16 << 20;

/// The text of a run in a format, held against an earlier run where the format can show it.
/// `place` is where it will lie, if that is known: links are relative within the run's folder.
///
/// # Errors
/// When it cannot be made, or what it links to cannot be written into the run's folder.
pub fn render(
    report: &RunReport,
    format: Format,
    comparison: Option<&Comparison>,
    place: Option<&Path>,
) -> Result<String> {
    match format {
        Format::Junit => junit::text(report),
        Format::Ktap => Ok(ktap::text(report)),
        Format::Markdown => Ok(markdown::text(report)),
        Format::Html => {
            let folder = report.folder.canonicalize().unwrap_or_else(|_| report.folder.clone());
            let beside_it = place.and_then(Path::parent).is_some_and(|place| {
                place == report.folder || place.canonicalize().is_ok_and(|place| place == folder)
            });
            let base = if beside_it { String::new() } else { address(&folder) };
            let earlier = earlier(report);
            let limits = TextLimits::default();
            let beside = PageContext { comparison, earlier: &earlier, base, limits };
            let (text, texts) = html::page(report, &beside)?;
            write_texts(report, texts)?;
            Ok(text)
        }
    }
}

/// The address of a folder on this machine.
fn address(folder: &Path) -> String {
    let path = folder.display().to_string();
    let path = path.replace('%', "%25").replace('#', "%23").replace('?', "%3F");
    format!("file://{path}/")
}

/// The runs that were kept before this one.
fn earlier(report: &RunReport) -> Vec<RunReport> {
    let Some(runs) = report.folder.parent() else { return Vec::new() };
    let own = report.folder.file_name().and_then(|name| name.to_str());
    // Of a report that lies elsewhere, or was merged, the neighbours are no earlier runs.
    let Some(own) = own.filter(|own| **own == report.run.id) else { return Vec::new() };
    let mut room = EARLIER_BYTES;
    let mut earlier = Vec::new();
    for folder in runs::before(runs, Some(own)).into_iter().take(EARLIER) {
        let size = std::fs::metadata(RunFiles::of(&folder).report_lines());
        let Some(rest) = size.ok().and_then(|file| room.checked_sub(file.len())) else { break };
        room = rest;
        // A run whose lines cannot be read tells nothing, and is no reason to lose this report.
        earlier.extend(RunReport::read(&folder));
    }
    earlier
}

/// Lays the texts that are too long for the page beside it.
fn write_texts(report: &RunReport, texts: Texts<'_>) -> Result<()> {
    for (name, attempt) in texts {
        let (output, log) = report.whole_texts(attempt)?;
        let mut text = String::from("Output:\n");
        for line in output.lines().chain(["", "Kernel log:"]).chain(log.iter().map(String::as_str))
        {
            text += &plain(line);
            text.push('\n');
        }
        put(&report.folder.join(name), &text)?;
    }
    Ok(())
}

/// Where a format's file lies in the run's folder.
pub fn file_of(folder: &Path, format: Format) -> PathBuf {
    let files = RunFiles::of(folder);
    match format {
        Format::Html => files.html(),
        Format::Ktap => files.ktap(),
        Format::Junit => files.junit(),
        Format::Markdown => files.markdown(),
    }
}

/// Lays all formats beside the report, and tells GitHub's runner if one runs us. What is to be said to a
/// person about the difference to `baseline` is given back.
///
/// # Errors
/// When one of them cannot be written.
pub fn write_all(report: &RunReport, baseline: Option<&RunReport>) -> Result<Vec<String>> {
    let comparison = baseline.map(|baseline| compare(baseline, report));
    for format in [Format::Junit, Format::Ktap, Format::Html] {
        let path = file_of(&report.folder, format);
        put(&path, &render(report, format, comparison.as_ref(), Some(&path))?)?;
    }
    if let Some(runner) = Runner::found(|name| std::env::var_os(name)) {
        runner.tell(report, comparison.as_ref(), &mut std::io::stdout())?;
    }
    Ok(comparison.map_or_else(Vec::new, |comparison| comparison.lines()))
}

/// Puts a file there whole, or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn put(path: &Path, text: &str) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, text)
        .and_then(|()| std::fs::rename(&partial, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
