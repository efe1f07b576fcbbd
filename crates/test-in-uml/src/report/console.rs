//! What a person sees of a run as it goes: nextest's lines, a failure's evidence, a summary.

use std::path::Path;
use std::time::Duration;

use super::grid::Grid;
use super::plain;
use super::progress::Progress;
use crate::record::{CaseEnd, CaseLine, GuestEnd, GuestLine, Tally, Trouble};
use crate::suite::{Finished, Note};
use crate::ui::{Tone, Ui, human_duration};

/// The terminal of a run.
#[derive(Debug)]
pub(super) struct Console<'a> {
    ui: &'a Ui,
    progress: Progress,
    grid: Grid,
    /// Default kernels that were not used, and why.
    passed_over: Vec<String>,
    /// The command that runs what failed again.
    again: String,
}

impl<'a> Console<'a> {
    /// That of a run of so many cases.
    pub fn new(ui: &'a Ui, cases: usize, again: String) -> Self {
        let progress = Progress::towards(cases);
        Self { ui, progress, grid: Grid::default(), passed_over: Vec::new(), again }
    }

    pub fn note(&mut self, note: &Note) {
        match note {
            Note::Ready(target) => self.passed_over.extend_from_slice(&target.passed_over),
            Note::Booted { guest, after } => self.came_up(guest, *after),
            Note::Began { seat, kernel, case } => {
                self.progress.begins(*seat, format!("{kernel} {case}"));
            }
            Note::Idle(seat) => self.progress.ends(*seat),
            Note::Again(case) => {
                let attempt = case.attempt.unwrap_or(1);
                self.show(case, &format!("TRY {attempt} {}", case.end.label()));
            }
            Note::Ended(case) => self.ended(case),
            Note::GuestEnded(guest) => self.parted(guest),
            Note::Kept(how_to_boot) => self.ui.line(how_to_boot),
            // It is said when the run is over.
            Note::Broken(_) => {}
        }
    }

    pub fn tick(&mut self) {
        for (what, after) in self.progress.newly_slow() {
            self.ui.say(&format!("{:>12} [>{:>7.3}s] {what}", "SLOW", after.as_secs_f64()));
        }
        if self.ui.is_live()
            && let Some(lines) = self.progress.due()
        {
            self.ui.progress(lines);
        }
    }

    /// A guest is ready.
    fn came_up(&self, guest: &str, after: Duration) {
        self.ui.say(&format!("{:>12} [{:>8.3}s] {guest} is ready", "BOOT", after.as_secs_f64()));
    }

    /// A guest is over.
    fn parted(&self, guest: &GuestLine) {
        if guest.end == GuestEnd::Clean && !guest.detail.is_empty() {
            self.ui.detail(&format!("{:>12} {}: {}", "guest", guest.guest, guest.detail));
        }
    }

    /// A case is over; a failure is shown with its output and with what the kernel said.
    fn ended(&mut self, case: &CaseLine) {
        self.progress.count(case);
        self.grid.add(case);
        match case.flaky {
            true => self.show(case, &format!("FLAKY {}", case.attempt.unwrap_or(1))),
            false => self.show(case, case.end.label()),
        }
    }

    fn show(&self, case: &CaseLine, word: &str) {
        let line = case_line(&self.ui.paint(tone(case), &format!("{word:>12}")), case);
        match case.end {
            end if end.is_failure() => {
                self.ui.line(&line);
                for line in evidence(case) {
                    self.ui.line(&line);
                }
            }
            // One line says how many were not run.
            CaseEnd::NotRun => self.ui.detail(&line),
            _ => self.ui.say(&line),
        }
        for leftover in &case.left_behind {
            self.ui.say(&format!("{:>12} {leftover}", "left behind"));
        }
    }

    /// Takes away what moves.
    pub fn clear(&self) {
        self.ui.progress(Vec::new());
    }

    /// The last lines of a run; `more` is about the difference to another one.
    pub fn summary(
        self,
        finished: &Finished,
        took: Duration,
        (troubles, more): (&[Trouble], &[String]),
        folder: &Path,
    ) {
        let Self { ui, grid, passed_over, again, .. } = self;
        passed_over.iter().for_each(|line| ui.warn(line));
        more.iter().for_each(|line| ui.line(line));
        for trouble in troubles {
            ui.line(&format!("{:>12} {}", "trouble", plain(&trouble.to_string())));
        }
        grid.lines().iter().for_each(|line| ui.line(line));
        let tally = &finished.tally;
        let failed = tally.failed > 0 || finished.guests_failed || !troubles.is_empty();
        if failed {
            ui.line(&format!("{:>12} {}", "evidence", folder.display()));
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
    }
}

fn tone(case: &CaseLine) -> Tone {
    match case.end {
        end if end.is_failure() => Tone::Bad,
        CaseEnd::Passed if !case.flaky => Tone::Good,
        _ => Tone::Warn,
    }
}

/// `KERNEL BINARY NAME` behind a word, which repetition it was if it was not the first, and what is known beside.
fn case_line(word: &str, case: &CaseLine) -> String {
    let CaseLine { kernel, seconds, .. } = case;
    let repetition = match case.repeat {
        None | Some(1) => String::new(),
        Some(number) => format!(" #{number}"),
    };
    let more = plain(&case.detail);
    let more = if more.is_empty() { more } else { format!(": {more}") };
    format!("{word} [{seconds:>8.3}s] {kernel} {}{repetition}{more}", case.full_name())
}

fn evidence(case: &CaseLine) -> Vec<String> {
    let mut lines = Vec::new();
    let output = &case.output;
    if !output.trim().is_empty() {
        lines.push("  output:".into());
        lines.extend(ends(output.trim_end().lines().collect()));
    }
    if !case.kernel_log.is_empty() {
        lines.push("  kernel log:".into());
        lines.extend(ends(case.kernel_log.iter().map(String::as_str).collect()));
    }
    lines
}

/// The number of lines of a text a person is shown of its beginning, and of its end.
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
    if tally.known > 0 {
        line += &format!(", {} failed as known", tally.known);
    }
    if tally.not_run > 0 {
        line += &format!(", {} not run", tally.not_run);
    }
    line
}

#[cfg(test)]
mod tests;
