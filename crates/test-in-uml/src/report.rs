//! What a person sees of a run: nextest's lines, a failure's evidence, a summary.

use std::time::Duration;

use anyhow::Result;

use self::grid::Grid;
use self::progress::Progress;
use self::record::{CaseLine, Line, Record, describe};
use crate::guest::machine::End;
use crate::kernel::KernelBinary;
use crate::runs::RunFolder;
use crate::suite::{Execution, Life, Note, Observer, Outcome, Partition, Tally, Verdict};
use crate::ui::{Tone, Ui, human_duration};

mod again;
mod compare;
mod escape;
mod excerpt;
#[cfg(test)]
mod fuzz;
mod github;
mod grid;
mod html;
mod junit;
mod ktap;
mod matrix;
mod merge;
mod model;
mod progress;
mod read;
mod record;
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
pub use model::{CaseEnd, CaseResult};
pub use read::RunReport;
pub use write::{Format, file_of, put, render, write_all};

/// Tells of a run as it goes: a person by the terminal, programs by files in the run's folder.
#[derive(Debug)]
pub struct Reporter<'a> {
    ui: &'a Ui,
    run: &'a RunFolder,
    record: Record,
    progress: Progress,
    grid: Grid,
    /// Default kernels that were not used, and why.
    passed_over: Vec<String>,
    baseline: Option<RunReport>,
    again: String,
}

/// What is known of a run before it begins.
#[derive(Debug, Default)]
pub struct About {
    /// How many cases there are.
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
    fn note(&mut self, note: &Note) -> Result<()> {
        match note {
            Note::Ready(target) => self.kernel(&target.kernel, &target.passed_over)?,
            Note::Booted { guest, after } => self.came_up(guest, *after),
            Note::Began { seat, kernel, case } => {
                self.progress.begins(*seat, format!("{kernel} {case}"));
            }
            Note::Idle(seat) => self.progress.ends(*seat),
            Note::Again(execution) => self.again(execution)?,
            Note::Ended(execution) => self.ended(execution)?,
            Note::Parted(life) => self.parted(life)?,
            Note::Kept(how_to_boot) => self.ui.line(how_to_boot),
            Note::Broken(error) => self.broken(error)?,
        }
        Ok(())
    }

    fn tick(&mut self) {
        for (what, after) in self.progress.newly_slow() {
            self.ui.say(&format!("{:>12} [>{:>7.3}s] {what}", "SLOW", after.as_secs_f64()));
        }
        if self.ui.is_live()
            && let Some(lines) = self.progress.due()
        {
            self.ui.progress(lines);
        }
    }
}

impl<'a> Reporter<'a> {
    /// A reporter that tells `ui`, and keeps what it is told in the folder of the run.
    ///
    /// # Errors
    /// When the report cannot be written.
    pub fn new(ui: &'a Ui, run: &'a RunFolder, about: About) -> Result<Self> {
        let mut record = Record::create(&run.report_lines())?;
        record.write(&Line::run(run.id(), &about))?;
        Ok(Self {
            ui,
            run,
            record,
            progress: Progress::towards(about.cases),
            baseline: about.baseline,
            again: about.again,
            grid: Grid::default(),
            passed_over: Vec::new(),
        })
    }

    /// A kernel is there.
    fn kernel(&mut self, kernel: &KernelBinary, passed_over: &[String]) -> Result<()> {
        self.passed_over.extend_from_slice(passed_over);
        self.record.write(&Line::kernel(kernel, passed_over)?)
    }

    /// A guest is ready.
    fn came_up(&self, guest: &str, after: Duration) {
        self.ui.say(&format!("{:>12} [{:>8.3}s] {guest} is ready", "BOOT", after.as_secs_f64()));
    }

    /// A guest is over.
    fn parted(&mut self, life: &Life) -> Result<()> {
        if let End::Clean { aborted: true } = &life.end {
            self.ui.detail(&format!("{:>12} {}: {}", "guest", life.name, life.end));
        }
        self.record.write(&Line::guest(life))
    }

    /// Something of the run failed that is no case: a kernel that does not build, a guest that does not come
    /// up.
    fn broken(&mut self, error: &anyhow::Error) -> Result<()> {
        let subject = self.run.id();
        self.record.write(&Line::Trouble { subject, what: format!("{error:#}") })
    }

    /// A case failed, and is tried again.
    fn again(&mut self, execution: &Execution) -> Result<()> {
        self.show(
            execution,
            &format!("TRY {} {}", execution.attempt, execution.verdict.outcome.word()),
        );
        self.record.write(&Line::Case(CaseLine::new(execution)))
    }

    /// A case is over; a failure is shown with its output and with what the kernel said.
    fn ended(&mut self, execution: &Execution) -> Result<()> {
        self.progress.count(execution);
        self.grid.take(execution);
        match execution.is_flaky() {
            true => self.show(execution, &format!("FLAKY {}", execution.attempt)),
            false => self.show(execution, execution.verdict.outcome.word()),
        }
        self.record.write(&Line::Case(CaseLine::new(execution)))
    }

    fn show(&self, execution: &Execution, word: &str) {
        let verdict = &execution.verdict;
        let name = shown_name(execution);
        let line =
            case_line(&self.ui.paint(tone(execution), &format!("{word:>12}")), &name, verdict);
        match &verdict.outcome {
            outcome if outcome.is_failure() => {
                self.ui.line(&line);
                for line in evidence(verdict) {
                    self.ui.line(&line);
                }
            }
            // One line says how many were not run.
            Outcome::NotRun(_) => self.ui.detail(&line),
            _ => self.ui.say(&line),
        }
        for leftover in &verdict.leftovers {
            self.ui.say(&format!("{:>12} {}", "left behind", describe(leftover)));
        }
    }

    /// The last lines of a run.
    ///
    /// # Errors
    /// When the report cannot be written.
    pub fn summary(self, tally: &Tally, took: Duration) -> Result<()> {
        let Self { ui, run, mut record, grid, passed_over, baseline, again, .. } = self;
        ui.progress(Vec::new());
        passed_over.iter().for_each(|line| ui.warn(line));
        record.write(&Line::summary(tally, took))?;
        let report = RunReport::read(run.path())?;
        for line in write_all(&report, baseline.as_ref())? {
            ui.line(&line);
        }
        let troubles = report.troubles();
        for trouble in &troubles {
            ui.line(&format!("{:>12} {}", "trouble", plain(&trouble.to_string())));
        }
        grid.lines().iter().for_each(|line| ui.line(line));
        let failed = tally.failed > 0 || !troubles.is_empty();
        if failed {
            ui.line(&format!("{:>12} {}", "evidence", run.path().display()));
        }
        let tone = match (failed, tally.not_run) {
            (true, _) => Tone::Bad,
            (_, 1..) => Tone::Warn,
            _ => Tone::Good,
        };
        ui.line(&summary_line(&ui.paint(tone, "     Summary"), tally, took));
        if tally.failed > 0 {
            ui.line(&format!("{:>12} {again}", "again"));
        }
        Ok(())
    }
}

/// `KERNEL BINARY NAME`, and which repetition it was if it was not the first.
fn shown_name(execution: &Execution) -> String {
    let name = format!("{} {}", execution.kernel, execution.job.case.full_name());
    match execution.job.repetition {
        1 => name,
        number => format!("{name} #{number}"),
    }
}

fn tone(execution: &Execution) -> Tone {
    match &execution.verdict.outcome {
        outcome if outcome.is_failure() => Tone::Bad,
        Outcome::Passed if !execution.is_flaky() => Tone::Good,
        _ => Tone::Warn,
    }
}

fn case_line(word: &str, name: &str, verdict: &Verdict) -> String {
    let seconds = verdict.duration.as_secs_f64();
    let more = plain(&verdict.detail());
    let more = if more.is_empty() { more } else { format!(": {more}") };
    format!("{word} [{seconds:>8.3}s] {name}{more}")
}

fn evidence(verdict: &Verdict) -> Vec<String> {
    let mut lines = Vec::new();
    let output = String::from_utf8_lossy(&verdict.output);
    if !output.trim().is_empty() {
        lines.push("  output:".into());
        lines.extend(ends(output.trim_end().lines().collect()));
    }
    if !verdict.log.is_empty() {
        lines.push("  kernel log:".into());
        lines.extend(ends(verdict.log.iter().map(String::as_str).collect()));
    }
    lines
}

/// How many lines of a text a person is shown of its beginning, and of its end.
const SHOWN: [usize; 2] = [100, 200];

fn ends(lines: Vec<&str>) -> Vec<String> {
    let [first, last] = SHOWN;
    let bar = |line: &&str| format!("  | {}", plain(line));
    if lines.len() <= first + last {
        return lines.iter().map(bar).collect();
    }
    let left_out = format!("  ({} lines are in the report alone)", lines.len() - first - last);
    let (beginning, end) = (&lines[..first], &lines[lines.len() - last..]);
    beginning.iter().map(bar).chain([left_out]).chain(end.iter().map(bar)).collect()
}

fn summary_line(word: &str, tally: &Tally, took: Duration) -> String {
    let flaky = match tally.flaky {
        0 => String::new(),
        flaky => format!(" ({flaky} flaky)"),
    };
    let mut line = format!(
        "{word} [{:>8}] {} cases run: {} passed{flaky}, {} failed, {} skipped",
        human_duration(took),
        tally.run(),
        tally.passed,
        tally.failed,
        tally.skipped
    );
    if tally.not_run > 0 {
        line += &format!(", {} not run", tally.not_run);
    }
    line
}
