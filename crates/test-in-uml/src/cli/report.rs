//! `cargo xtask report`: runs that are over, in other formats.

use std::path::{Path, PathBuf};

use crate::ctx::Ctx;
use crate::report::{self, Format, RunReport, Runner};
use crate::{runs, ui};
use anyhow::{Context as _, Result, anyhow};
use clap::{Args, Subcommand, ValueEnum};

use super::{code, wrong_usage};

#[derive(Debug, Subcommand)]
pub(super) enum Report {
    /// A page for a browser, complete in itself
    Html(Show),
    /// KTAP, for the kernel's own parsers
    Ktap(Show),
    /// JUnit's XML
    Junit(Show),
    /// Markdown: a table of cases by kernels, for documents
    Markdown(Show),
    /// Annotations and a job's summary, for GitHub's runner
    Github {
        /// The runs: ids, folders, or `latest`
        #[arg(value_name = "RUN", default_value = "latest")]
        runs: Vec<String>,
    },
    /// What newly fails, is fixed or became slower from one run to another
    Compare(Compare),
    /// One report of the parts of a run that `--partition` spread over machines
    Merge(Merge),
}

#[derive(Debug, Args)]
pub(super) struct Merge {
    /// The folders of the runs, or folders with one run each
    #[arg(value_name = "DIR", required = true)]
    runs: Vec<PathBuf>,
    /// The folder of the report
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Say what newly fails, is fixed or became slower since this run
    #[arg(long, value_name = "RUN")]
    baseline: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The runs: ids, folders, or `latest`
    #[arg(value_name = "RUN", default_value = "latest")]
    runs: Vec<String>,
    /// Write here instead of into the run's folder; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Compare {
    /// The earlier run: its id, folder, or `latest`
    #[arg(value_name = "BASELINE")]
    before: String,
    /// The later one
    #[arg(value_name = "RUN", default_value = "latest")]
    after: String,
    /// What to write it as
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: CompareFormat,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum CompareFormat {
    /// Lines for a person
    #[default]
    Text,
    /// The later run's page, with the difference on it
    Html,
    /// For a program
    Json,
}

impl Report {
    pub fn run(&self, ctx: &Ctx) -> Result<u8> {
        match self {
            Report::Html(show) => show.run(ctx, Format::Html),
            Report::Ktap(show) => show.run(ctx, Format::Ktap),
            Report::Junit(show) => show.run(ctx, Format::Junit),
            Report::Markdown(show) => show.run(ctx, Format::Markdown),
            Report::Github { runs } => {
                let runner = Runner::found(|name| std::env::var_os(name));
                let runner = runner.context("GITHUB_ACTIONS is not `true`: no runner is here");
                let runner = runner.map_err(wrong_usage)?;
                for run in runs {
                    runner.tell(&read(ctx, run)?, None, &mut std::io::stdout())?;
                }
                Ok(0)
            }
            Report::Compare(compare) => compare.run(ctx),
            Report::Merge(merge) => merge.run(ctx),
        }
    }
}

impl Show {
    fn run(&self, ctx: &Ctx, format: Format) -> Result<u8> {
        if self.runs.len() > 1 && self.output.is_some() {
            return Err(wrong_usage(anyhow!("--output is for one run")));
        }
        for run in &self.runs {
            let report = read(ctx, run)?;
            match &self.output {
                Some(path) if path == Path::new("-") => {
                    print(&report::render(&report, format, None, None)?)?;
                }
                output => {
                    let own = || report::file_of(&report.folder, format);
                    let path = output.clone().unwrap_or_else(own);
                    report::put(&path, &report::render(&report, format, None, Some(&path))?)?;
                    ui::print(path.display())?;
                }
            }
        }
        Ok(0)
    }
}

impl Compare {
    fn run(&self, ctx: &Ctx) -> Result<u8> {
        let (before, after) = (read(ctx, &self.before)?, read(ctx, &self.after)?);
        let comparison = report::compare(&before, &after);
        match self.format {
            CompareFormat::Text => print(&(comparison.lines().join("\n") + "\n"))?,
            CompareFormat::Html => {
                print(&report::render(&after, Format::Html, Some(&comparison), None)?)?;
            }
            CompareFormat::Json => print(&comparison.json()?)?,
        }
        Ok(if comparison.newly_failing.is_empty() { 0 } else { code::TEST_FAILED })
    }
}

impl Merge {
    fn run(&self, ctx: &Ctx) -> Result<u8> {
        let baseline = self.baseline.as_deref().map(|name| read(ctx, name)).transpose()?;
        for line in report::merge(&self.runs, &self.output)? {
            ctx.ui.warn(&line);
        }
        let merged = RunReport::read(&self.output)?;
        for line in report::write_all(&merged, baseline.as_ref())? {
            ctx.ui.line(&line);
        }
        for trouble in merged.troubles() {
            ctx.ui.warn(&report::plain(&trouble.to_string()));
        }
        ctx.ui.line(&format!("{:>12} {}", "Summary", merged.tally().words()));
        ui::print(self.output.display())?;
        Ok(if merged.is_success() { 0 } else { code::TEST_FAILED })
    }
}

/// The run that a user calls `name`.
pub(super) fn read(ctx: &Ctx, name: &str) -> Result<RunReport> {
    RunReport::read(&runs::find(&ctx.layout, name).map_err(wrong_usage)?)
}

/// Writes a text, which ends with a line's end, to standard output.
fn print(text: &str) -> Result<()> {
    ui::print(text.strip_suffix('\n').unwrap_or(text))
}
