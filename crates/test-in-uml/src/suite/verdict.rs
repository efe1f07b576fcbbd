//! The verdict on a case: what its process, its markers and its guest say together.

use std::time::Duration;

use uml_protocol::marker::Expectation;
use uml_protocol::wire::{Leftover, ProcessEnd};

use super::inject::last_injection;
use super::programs::{Judgement, Rules, Wrote};
use super::word::{self, Word};
use crate::guest::is_starved;
use crate::guest::kernel_line::LogLine;
use crate::guest::machine::{CaseRecord, End, lost_lines, out_of_memory};
use crate::record::Scenario;

mod asked;
mod outcome;
mod scenario;
mod taint;
#[cfg(test)]
mod tests;

pub use asked::Asked;
pub use outcome::Outcome;
use taint::{HARMLESS_TAINT, added_taint};

/// A case's outcome with its evidence.
#[derive(Debug)]
pub struct Verdict {
    /// The outcome.
    pub outcome: Outcome,
    /// How its process ended, if the guest lived to tell.
    pub ended: Option<ProcessEnd>,
    /// The time its process took, by the guest's clock; by ours if the guest did not live to tell.
    pub duration: Duration,
    /// What it wrote.
    pub output: Vec<u8>,
    /// What the kernel said meanwhile.
    pub log: Vec<String>,
    /// What it left behind.
    pub leftovers: Vec<Leftover>,
    /// The modules that it loaded, also those that it unloaded again.
    pub loaded: Vec<String>,
    /// Which cases had loaded which modules in the same guest before, if its kernel is to blame: what a
    /// module leaves behind may harm long after.
    pub earlier: Vec<String>,
    /// Which failure was injected last before its kernel complained.
    pub after_injection: Option<String>,
    /// True if its kernel complained of time that the host did not give it: that says nothing of the case.
    pub starved: bool,
    /// True if a detector of its kernel has spoken or was switched off, and may be blind for what comes.
    pub spent_detector: bool,
    /// Where it ran; nothing if no guest began it.
    pub place: Option<Place>,
    /// What it had beside its own guest.
    pub scenario: Scenario,
}

/// More loads of modules than this are not remembered of a guest.
const MOST_EARLIER: usize = 10;

/// Where a case ran: a kernel's faults depend on what ran before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The guest's name.
    pub guest: String,
    /// The number of cases that guest had run with this one.
    pub order: u32,
    /// When it began, since the run did.
    pub began: Duration,
}

impl Verdict {
    /// A case that was not begun.
    pub fn not_run(why: &str) -> Self {
        Self {
            outcome: Outcome::NotRun(why.into()),
            ended: None,
            duration: Duration::ZERO,
            output: Vec::new(),
            log: Vec::new(),
            leftovers: Vec::new(),
            loaded: Vec::new(),
            earlier: Vec::new(),
            after_injection: None,
            starved: false,
            spent_detector: false,
            place: None,
            scenario: Scenario::default(),
        }
    }

    /// Returns true if cases after it deserve another guest: this one is not what it was.
    pub fn spoils_guest(&self) -> bool {
        let stays = |leftover: &Leftover| match leftover {
            Leftover::Stuck(_) | Leftover::Module(_) => true,
            Leftover::Unmounted(_) | Leftover::Space(..) | Leftover::Program(_) => true,
            Leftover::Setting(_) | Leftover::Network(_) | Leftover::PackageFile(_) => true,
            Leftover::Process(_) | Leftover::Mount(_) | Leftover::Clock(_) => false,
        };
        self.spent_detector
            || matches!(self.outcome, Outcome::Kernel(_) | Outcome::Untrusted(_))
            || self.leftovers.iter().any(stays)
    }

    /// Judges a case, which took this long by our clock, by its record and by the end of its guest,
    /// if it ended.
    pub fn of(
        mut record: CaseRecord,
        asked: Asked<'_>,
        took: Duration,
        guest: Option<&End>,
    ) -> Self {
        if let Some(inject) = asked.injected {
            record.reports.excuse(|complaint| inject.excuses(complaint));
        }
        let outcome = match outcome(&record, asked, guest) {
            Outcome::Failed(_) if asked.injected.is_some() => Outcome::Passed,
            outcome => outcome,
        };
        let tainted = record.exit.as_ref().map_or(0, |exit| exit.tainted);
        let spent_detector =
            record.reports.spent_detector().is_some() || tainted & !HARMLESS_TAINT != 0;
        let mut output = record.output.bytes();
        if asked.word == Word::LogFile {
            word::drop_deprecation(&mut output);
        }
        let log = record.log.all();
        let said_last = outcome.said_last().filter(|_| asked.injected.is_some());
        let after_injection = said_last.and_then(|line| last_injection(&log, line));
        let mut verdict =
            Self { outcome, output, log, spent_detector, after_injection, ..Self::not_run("") };
        verdict.duration = took;
        if let Some(exit) = record.exit {
            (verdict.duration, verdict.leftovers) = (exit.duration, exit.leftovers);
            verdict.loaded = exit.loaded;
            verdict.ended = Some(exit.end);
        }
        verdict
    }

    /// What is known beside the outcome's word.
    pub fn detail(&self) -> String {
        let mut outcome = self.outcome.to_string();
        if self.ended == Some(ProcessEnd::TimedOut) && self.outcome == Outcome::Passed {
            outcome = "ran for its time, and was ended".into();
        }
        if self.starved {
            outcome += "; the host gave this guest no CPU for much of that time";
        }
        if let Some(what) = &self.after_injection {
            outcome += &format!("; after an injected {what}");
        }
        match self.earlier.as_slice() {
            [] => outcome,
            earlier => format!("{outcome}; earlier in this guest {}", earlier.join(", ")),
        }
    }

    /// Says whether the kernel went by a clock that the host withheld so much of.
    pub fn hold_against(&mut self, withheld: Duration) {
        let complaint = match &self.outcome {
            Outcome::Kernel(complaint) => Some(complaint),
            Outcome::Died { complaint, .. } => complaint.as_ref(),
            _ => None,
        };
        self.starved = complaint.is_some_and(|complaint| is_starved(complaint, withheld));
    }

    /// Remembers what came before in the same guest, and adds what this case did.
    pub fn goes_after(&mut self, earlier: &mut Vec<String>, name: &str) {
        if matches!(self.outcome, Outcome::Kernel(_) | Outcome::Died { .. }) {
            self.earlier.clone_from(earlier);
        }
        for module in &self.loaded {
            let what = format!("{name} loaded {module}");
            if earlier.len() < MOST_EARLIER && !earlier.contains(&what) {
                earlier.push(what);
            }
        }
    }
}

fn outcome(record: &CaseRecord, asked: Asked<'_>, guest: Option<&End>) -> Outcome {
    let Some(exit) = &record.exit else {
        let how = || End::Lost("it ended without a word".into());
        return of_death(record, guest.cloned().unwrap_or_else(how));
    };
    if let Some(disorder) = &record.disorder {
        return Outcome::Untrusted(disorder.clone());
    }
    let complaint = record.reports.undeclared().first().cloned();
    if let Some(complaint) = complaint.or_else(|| added_taint(record, exit)) {
        return Outcome::Kernel(complaint);
    }
    if record.lost > 0 {
        return Outcome::Untrusted(lost_lines(record.lost));
    }
    if let (ProcessEnd::Code(code), None, Some(rules)) = (exit.end, &exit.skip, asked.rules) {
        return of_program(record, rules, code);
    }
    match (exit.end, &exit.skip) {
        (ProcessEnd::TimedOut, _) if asked.rules.is_some_and(|rules| rules.lasts) => {
            absent(record).map_or(Outcome::Passed, Outcome::Failed)
        }
        (ProcessEnd::TimedOut, _) => Outcome::TimedOut,
        (ProcessEnd::Signal(signal), _) => Outcome::Failed(match killer(record, signal) {
            Some(killer) => format!("signal {signal}: {killer}"),
            None => format!("signal {signal}"),
        }),
        (ProcessEnd::Code(0), skip) => match (asked.judge(record, exit), absent(record), skip) {
            (Err(why), _, _) => Outcome::Failed(why),
            (Ok(()), Some(absent), _) => Outcome::Failed(absent),
            (Ok(()), None, Some(why)) => Outcome::Skipped(why.clone()),
            (Ok(()), None, None) => Outcome::Passed,
        },
        (ProcessEnd::Code(code), _) => Outcome::Failed(format!("exit code {code}")),
    }
}

/// The outcome of a program of a suite that exited with this code.
fn of_program(record: &CaseRecord, rules: &Rules, code: i32) -> Outcome {
    let (stdout, is_whole) = record.output.stdout();
    let (stdout, both) = (String::from_utf8_lossy(&stdout), record.output.bytes());
    let wrote = Wrote { stdout: &stdout, both: &String::from_utf8_lossy(&both), is_whole };
    match rules.judge(code, &wrote) {
        Judgement::Failed(why) => Outcome::Failed(why),
        Judgement::Skipped(why) => absent(record).map_or(Outcome::Skipped(why), Outcome::Failed),
        Judgement::Passed => absent(record).map_or(Outcome::Passed, Outcome::Failed),
    }
}

/// Who sent a case's process its last signal, if the kernel says so.
fn killer(record: &CaseRecord, signal: i32) -> Option<String> {
    const SIGKILL: i32 = 9;
    let log = record.log.all();
    let lines = LogLine::texts(&log);
    let lines = lines.iter().map(String::as_str);
    (signal == SIGKILL).then(|| out_of_memory(lines))?
}

/// The guest ended while the case ran, as the case may have declared.
fn of_death(record: &CaseRecord, end: End) -> Outcome {
    let complaint = record.reports.undeclared().first().cloned();
    let declared = complaint.is_none() && is_declared_death(record, &end);
    match (declared, &record.disorder) {
        (true, None) if record.lost > 0 => Outcome::Untrusted(lost_lines(record.lost)),
        (true, None) => absent(record).map_or(Outcome::Passed, Outcome::Failed),
        _ => Outcome::Died { end, complaint },
    }
}

/// Returns true if this is the end that the case declared: a panic whose report has the text, or the last that the
/// kernel said before it went.
fn is_declared_death(record: &CaseRecord, end: &End) -> bool {
    let is_last = |expected: &Expectation| {
        matches!(expected, Expectation::Death(_)) && expected.is_met_by(&record.last_line)
    };
    match end {
        End::Panicked(_) => record.reports.has_declared_death(),
        End::Lost(_) | End::Clean { .. } => record.expectations.all().iter().any(is_last),
        End::Hung(_) | End::BootFailed(_) => false,
    }
}

/// What the case declared and the kernel did not do.
fn absent(record: &CaseRecord) -> Option<String> {
    let lives = record.exit.is_some();
    record.expectations.unmet().find_map(|expected| match expected {
        Expectation::Message(text) => Some(format!("the kernel did not say `{text}`, as declared")),
        Expectation::Death(_) if !lives => None,
        Expectation::Death(text) => {
            Some(format!("the guest lives, and was declared to die with `{text}`"))
        }
    })
}
