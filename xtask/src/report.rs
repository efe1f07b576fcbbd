//! What a person sees of a run: nextest's lines, a failure's evidence, a summary.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Result;

use self::record::{CaseLine, Line, Record, describe};
use crate::guest::machine::End;
use crate::kernel::KernelBinary;
use crate::runs::RunFolder;
use crate::suite::{Case, Life, Outcome, Tally, Verdict};
use crate::ui::{Ui, human_duration};

mod junit;
mod matrix;
mod record;

pub use matrix::Matrix;

/// Tells of a run as it goes: a person by the terminal, programs by files in the run's folder.
#[derive(Debug)]
pub struct Reporter<'a> {
    ui: &'a Ui,
    run: &'a RunFolder,
    record: RefCell<Record>,
}

impl<'a> Reporter<'a> {
    /// A reporter that tells `ui`, and keeps what it is told in the folder of the run.
    ///
    /// # Errors
    /// When the report cannot be written.
    pub fn new(ui: &'a Ui, run: &'a RunFolder) -> Result<Self> {
        let reporter = Self { ui, run, record: RefCell::new(Record::create(&run.report_lines())?) };
        reporter.keep(&Line::run(run.id()))?;
        Ok(reporter)
    }

    fn keep(&self, line: &Line<'_>) -> Result<()> {
        self.record.borrow_mut().write(line)
    }

    /// The cases of a kernel begin.
    ///
    /// # Errors
    /// When the report cannot be written.
    pub fn kernel(&self, kernel: &KernelBinary, passed_over: &[String]) -> Result<()> {
        self.keep(&Line::kernel(kernel, passed_over)?)
    }

    /// A guest is ready.
    pub fn came_up(&self, guest: &str, after: Duration) {
        self.ui.say(&format!("{:>12} [{:>8.3}s] {guest} is ready", "BOOT", after.as_secs_f64()));
    }

    /// A guest is over.
    ///
    /// # Errors
    /// When the report cannot be written.
    pub fn parted(&self, life: &Life) -> Result<()> {
        self.keep(&Line::guest(life))
    }

    /// A guest's disk is kept, and how to boot it.
    pub fn kept(&self, how_to_boot: &str) {
        self.ui.line(how_to_boot);
    }

    /// A case begins.
    pub fn begins(&self, kernel: &str, case: &Case) {
        self.ui.status(&format!("{:>12} {kernel} {}", "running", case.full_name()));
    }

    /// A case is over; a failure is shown with its output and with what the kernel said.
    ///
    /// # Errors
    /// When the report cannot be written.
    pub fn ended(&self, kernel: &str, case: &Case, verdict: &Verdict) -> Result<()> {
        let line = case_line(kernel, &case.full_name(), verdict);
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
        self.keep(&Line::Case(CaseLine::new(kernel, case, verdict)))
    }

    /// The last lines of a run.
    ///
    /// # Errors
    /// When the report cannot be written.
    pub fn summary(&self, tally: &Tally, took: Duration, guests: &[Life]) -> Result<()> {
        self.keep(&Line::summary(tally, took))?;
        junit::write(&self.run.junit(), self.run.id(), self.record.borrow().cases())?;
        for life in guests {
            for line in life_lines(life) {
                self.ui.line(&line);
            }
        }
        if tally.failed > 0 || guests.iter().any(Life::is_failure) {
            self.ui.line(&format!("{:>12} {}", "evidence", self.run.path().display()));
        }
        self.ui.line(&summary_line(tally, took));
        Ok(())
    }
}

/// What is to be said of a guest beside its cases.
fn life_lines(life: &Life) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say =
        |text: String| lines.push(format!("{:>12} {}: {}", "guest", life.name, plain(&text)));
    for complaint in &life.strays {
        say(format!("while no case ran, its kernel said {complaint}"));
    }
    let last = life.last.as_deref().unwrap_or("none");
    match &life.end {
        End::Clean { aborted: true } => say(life.end.to_string()),
        // The case that is charged with it says how it ended.
        _ if life.charged => {}
        End::Clean { .. } => {}
        end => say(format!("{end}; no case ran, and the last one was: {last}")),
    }
    lines
}

fn case_line(kernel: &str, name: &str, verdict: &Verdict) -> String {
    let seconds = verdict.duration.as_secs_f64();
    let more = plain(&verdict.outcome.to_string());
    let more = if more.is_empty() { more } else { format!(": {more}") };
    format!("{:>12} [{seconds:>8.3}s] {kernel} {name}{more}", verdict.outcome.word())
}

fn evidence(verdict: &Verdict) -> Vec<String> {
    let mut lines = Vec::new();
    let output = String::from_utf8_lossy(&verdict.output);
    if !output.trim().is_empty() {
        lines.push("  output:".into());
        lines.extend(output.trim_end().lines().map(|line| format!("  | {}", plain(line))));
    }
    if !verdict.log.is_empty() {
        lines.push("  kernel log:".into());
        lines.extend(verdict.log.iter().map(|line| format!("  | {}", plain(line))));
    }
    lines
}

fn summary_line(tally: &Tally, took: Duration) -> String {
    let mut line = format!(
        "{:>12} [{:>8}] {} cases run: {} passed, {} failed, {} skipped",
        "Summary",
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

/// Text of a guest as data: without anything that a terminal would obey. The bar before each line
/// also keeps it from being a command to whoever reads the log, such as GitHub's `::error`.
pub fn plain(text: &str) -> String {
    strip_ansi_escapes::strip_str(text)
        .chars()
        .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn verdict(outcome: Outcome) -> Verdict {
        Verdict { outcome, duration: Duration::from_millis(1234), ..Verdict::not_run("") }
    }

    #[test]
    fn lines_read_like_nextests() {
        let panic = End::Panicked("Kernel panic - not syncing: \u{1b}[31mred".into());
        let lines: Vec<String> = [
            verdict(Outcome::Passed),
            verdict(Outcome::Skipped("no loop".into())),
            verdict(Outcome::Died { end: panic, complaint: None }),
        ]
        .iter()
        .map(|verdict| case_line("6.12", "ext4 acls", verdict))
        .collect();
        expect![[r#"
            "        PASS [   1.234s] 6.12 ext4 acls"
            "        SKIP [   1.234s] 6.12 ext4 acls: no loop"
            "       PANIC [   1.234s] 6.12 ext4 acls: kernel panic: Kernel panic - not syncing: red"
        "#]]
        .assert_eq(&lines.iter().map(|line| format!("{line:?}\n")).collect::<String>());
    }

    #[test]
    fn guest_output_cannot_command_whoever_reads_it() {
        let mut failed = verdict(Outcome::Failed("exit code 101".into()));
        failed.output = b"::error::no\n\x1b[2J\x1b]0;title\x07x\xff\r\n".to_vec();
        failed.log = vec!["[  0.1] WARNING".into()];
        expect![[r#"
            "  output:"
            "  | ::error::no"
            "  | x�"
            "  kernel log:"
            "  | [  0.1] WARNING"
        "#]]
        .assert_eq(&evidence(&failed).iter().map(|line| format!("{line:?}\n")).collect::<String>());
    }

    #[test]
    fn the_summary_counts_every_case() {
        let verdicts = [
            verdict(Outcome::Passed),
            verdict(Outcome::TimedOut),
            verdict(Outcome::Untrusted("x".into())),
            verdict(Outcome::Skipped("x".into())),
            Verdict::not_run("x"),
        ];
        let line = summary_line(&Tally::of(&verdicts), Duration::from_secs(2));
        expect!["     Summary [   2.00s] 4 cases run: 1 passed, 2 failed, 1 skipped, 1 not run"]
            .assert_eq(&line);
    }
}
