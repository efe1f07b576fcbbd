//! The reports of a run's parts, which ran on several machines, made into one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::model::{CaseId, tally};
use super::read::{Lines, RunReport};
use crate::record::{KernelLine, Line, RunLine, Shard, SummaryLine, VERSION};
use crate::runs::RunFiles;

/// The number of cases an error names.
const NAMED: usize = 10;

/// Merges the runs in these folders into a report in the folder `into`; says what a person should
/// know of it. The other formats are not made.
///
/// # Errors
/// When one of them cannot be read, or two have the same case.
pub fn merge(folders: &[PathBuf], into: &Path) -> Result<Vec<String>> {
    let folders: Vec<PathBuf> =
        folders.iter().map(|folder| run_in(folder)).collect::<Result<_>>()?;
    let reports: Vec<RunReport> =
        folders.iter().map(|folder| RunReport::read(folder)).collect::<Result<_>>()?;
    refuse_twice(&reports)?;
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let own = into.canonicalize()?;
    for folder in &folders {
        ensure!(folder.canonicalize()? != own, "{} is one of the runs to merge", into.display());
    }
    let path = RunFiles::of(into).report_lines();
    let partial = path.with_extension("jsonl.partial");
    write(&reports, into, &partial)
        .and_then(|()| Ok(fs::rename(&partial, &path)?))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(differences(&reports))
}

/// The folder of a run: this one, or that of the run in it, since what CI keeps of `runs/` has them
/// one level deeper.
fn run_in(folder: &Path) -> Result<PathBuf> {
    let has = |folder: &PathBuf| RunFiles::of(folder).report_lines().is_file();
    let entries = || fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in [folder.to_owned(), folder.join("latest")] {
        if has(&folder) {
            return Ok(folder);
        }
    }
    let below: Vec<PathBuf> = entries().filter(has).collect();
    match below.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("{} has no report.jsonl", folder.display()),
        _ => bail!("{} has several runs: name one of them", folder.display()),
    }
}

/// No case may be in two of the runs: one of them would hide the other.
fn refuse_twice(reports: &[RunReport]) -> Result<()> {
    let mut seen: HashMap<&CaseId, usize> = HashMap::new();
    let mut twice = Vec::new();
    for (place, report) in reports.iter().enumerate() {
        for case in &report.cases {
            let first = *seen.entry(&case.id).or_insert(place);
            if first != place {
                let (one, other) = (&reports[first].folder, &report.folder);
                twice.push(format!(
                    "{} in {} and {}",
                    case.full_name(),
                    one.display(),
                    other.display()
                ));
            }
        }
    }
    if twice.is_empty() {
        return Ok(());
    }
    let more = twice.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("\n  … and {more} more") } else { String::new() };
    twice.truncate(NAMED);
    bail!("cases are in two of the runs:\n  {}{more}", twice.join("\n  "))
}

/// What the guests' names of each run begin with: two runs have guests of the same name.
fn prefix(place: usize) -> String {
    format!("s{}-", place + 1)
}

/// The runs by name; those of a report that was merged already are named one by one.
fn shards(reports: &[RunReport]) -> Vec<Shard> {
    let mut shards = Vec::new();
    for (place, report) in reports.iter().enumerate() {
        let own = Shard {
            id: report.run.id.clone(),
            prefix: prefix(place),
            partition: report.run.partition.clone(),
            cut_off: report.summary.is_none(),
        };
        let within = report.run.merged.iter().map(|shard| Shard {
            prefix: format!("{}{}", prefix(place), shard.prefix),
            cut_off: shard.cut_off || own.cut_off,
            ..shard.clone()
        });
        match report.run.merged.is_empty() {
            true => shards.push(own),
            false => shards.extend(within),
        }
    }
    shards
}

fn write(reports: &[RunReport], into: &Path, path: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let mut line = |value: &Value| -> Result<()> { Ok(writeln!(out, "{value}")?) };
    let own = |line: Line<'_>| serde_json::to_value(line);
    let first = reports.first().context("there is nothing to merge")?;
    let began = reports.iter().filter_map(|report| report.run.started_at).reduce(f64::min);
    line(&own(Line::Run(RunLine {
        version: VERSION,
        id: format!("{}+{}", first.run.id, reports.len() - 1),
        host_kernel: same(reports.iter().map(|report| &report.run.host_kernel)),
        host_cpu: same(reports.iter().map(|report| &report.run.host_cpu)),
        walls: same(reports.iter().map(|report| &report.run.walls)),
        started_at: began,
        seed: None,
        partition: None,
        merged: shards(reports),
    }))?)?;
    let mut seconds: f64 = 0.0;
    let mut kernels: Vec<String> = Vec::new();
    for (place, report) in reports.iter().enumerate() {
        // A run that does not say when it began stands at the begin of all.
        let shift = report.run.started_at.zip(began).map_or(0.0, |(own, first)| own - first);
        let own = report.summary.as_ref().map_or(0.0, |summary| summary.seconds);
        seconds = seconds.max(own + shift);
        let file = File::open(RunFiles::of(&report.folder).report_lines())?;
        let mut lines = Lines::new(BufReader::new(file));
        while let Some((_, text)) = lines.next()? {
            let mut value: Value = serde_json::from_slice(text)?;
            match value["event"].as_str() {
                Some("run" | "summary") => continue,
                Some("kernel") => {
                    let name = value["kernel"].to_string();
                    if kernels.contains(&name) {
                        continue;
                    }
                    kernels.push(name);
                }
                _ => place_in(&mut value, &prefix(place), shift),
            }
            line(&value)?;
        }
        keep_consoles(report, &prefix(place), into)?;
    }
    let tally = tally(reports.iter().flat_map(|report| &report.cases));
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs_f64();
    line(&own(Line::Summary(SummaryLine { tally, seconds }))?)?;
    Ok(out.flush()?)
}

/// Names the guest of a line anew, and shifts its times to the begin of all.
fn place_in(value: &mut Value, prefix: &str, shift: f64) {
    if let Some(name) = value["guest"].as_str() {
        value["guest"] = format!("{prefix}{name}").into();
    }
    for field in ["started", "booted", "ready", "ended"] {
        if let Some(time) = value.get(field).and_then(Value::as_f64) {
            value[field] = (time + shift).into();
        }
    }
}

/// Copies what the guests wrote on their consoles, as far as it was kept.
fn keep_consoles(report: &RunReport, prefix: &str, into: &Path) -> Result<()> {
    for guest in &report.guests {
        let console = report.folder.join(RunFiles::console_log(&guest.guest));
        if console.is_file() {
            let name = RunFiles::console_log(&format!("{prefix}{}", guest.guest));
            fs::copy(&console, into.join(name))
                .with_context(|| format!("cannot copy {}", console.display()))?;
        }
    }
    Ok(())
}

fn same<'a>(mut values: impl Iterator<Item = &'a String>) -> String {
    let first = values.next().cloned().unwrap_or_default();
    if values.all(|value| *value == first) { first } else { "several".into() }
}

/// Kernels of one name that are not the same: their cases stand in one column.
fn differences(reports: &[RunReport]) -> Vec<String> {
    let mut known: HashMap<&str, &KernelLine> = HashMap::new();
    let mut lines = Vec::new();
    for kernel in reports.iter().flat_map(|report| &report.kernels) {
        let first = *known.entry(&kernel.kernel).or_insert(kernel);
        let (one, other) = (&first.config_sha256, &kernel.config_sha256);
        if first.release != kernel.release || one != other {
            let (one, other) = (&first.release, &kernel.release);
            lines.push(format!(
                "the runs do not have the same kernel {}: {one} and {other}, or other configurations",
                kernel.kernel
            ));
        }
    }
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests;
