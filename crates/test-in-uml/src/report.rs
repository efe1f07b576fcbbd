//! What is told of a run: a person by the terminal as it goes, programs by a file of lines, of which all other
//! formats are made.

use std::time::Duration;

use anyhow::{Context as _, Result};

use self::console::Console;
use self::recorder::Recorder;
use crate::record::{Line, SummaryLine};
use crate::runs::RunFolder;
use crate::suite::{Finished, Note, Observer, Partition};
use crate::ui::Ui;

mod again;
mod compare;
mod console;
mod escape;
mod excerpt;
#[cfg(test)]
mod fuzz;
mod github;
mod grid;
mod html;
mod junit;
mod ktap;
mod markdown;
mod matrix;
mod merge;
mod model;
mod progress;
mod read;
mod recorder;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
mod write;

pub use crate::text::plain;
pub use again::{Again, failed_in, sequence_of};
pub use compare::{Comparison, compare};
pub use github::Runner;
pub use matrix::{FAULTS, HARM, Matrix, TWINS};
pub use merge::merge;
pub use model::CaseResult;
pub use read::RunReport;
pub use write::{Format, file_of, put, render, write_all};

/// Tells of a run as it goes.
#[derive(Debug)]
pub struct Reporter<'a> {
    run: &'a RunFolder,
    console: Console<'a>,
    recorder: Recorder,
    baseline: Option<RunReport>,
}

/// What is known of a run before it begins.
#[derive(Debug, Default)]
pub struct RunFacts {
    /// What guests are run in and attached to on the host.
    pub walls: String,
    /// The number of cases there are.
    pub cases: usize,
    /// What their order was made from.
    pub seed: Option<u64>,
    /// Which part of all cases they are.
    pub partition: Option<Partition>,
    /// The run that it is compared with.
    pub baseline: Option<RunReport>,
    /// The command that runs what failed again.
    pub again: String,
}

impl Observer for Reporter<'_> {
    fn note(&mut self, note: &Note) {
        self.console.note(note);
        self.recorder.note(note);
    }

    fn tick(&mut self) {
        self.console.tick();
    }
}

impl<'a> Reporter<'a> {
    /// A reporter that tells `ui`, and keeps what it is told in the folder of the run.
    ///
    /// # Errors
    /// When the report cannot be begun.
    pub fn new(ui: &'a Ui, run: &'a RunFolder, about: RunFacts) -> Result<Self> {
        let recorder = Recorder::begin(&run.report_lines(), run.id(), &about)?;
        let RunFacts { cases, baseline, again, .. } = about;
        Ok(Self { run, console: Console::new(ui, cases, again), recorder, baseline })
    }

    /// Tells how the run ended, and makes the other formats. The terminal has the whole truth, whatever becomes
    /// of the files.
    ///
    /// # Errors
    /// When a file could not be written, now or earlier.
    pub fn finish(self, finished: &Finished, took: Duration) -> Result<()> {
        let Self { run, console, mut recorder, baseline } = self;
        console.clear();
        let tally = finished.tally;
        recorder.write(&Line::Summary(SummaryLine { tally, seconds: took.as_secs_f64() }));
        let recorded = recorder.end();
        let report = RunReport::read(run.path());
        let written = match &report {
            Ok(report) => write_all(report, baseline.as_ref()),
            Err(_) => Ok(Vec::new()),
        };
        let troubles = report.as_ref().map(RunReport::troubles).unwrap_or_default();
        let more = written.as_deref().unwrap_or_default();
        console.summary(finished, took, (&troubles, more), run.path());
        recorded.and(report.map(drop)).and(written.map(drop)).context("the report is not whole")
    }
}
