//! Reading what a run wrote: whatever shows a run, while it ends or years later, starts here.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::excerpt::Excerpt;
use super::model::{Attempt, CaseId, CaseResult, missing_parts, tally};
use crate::record::{
    CaseEnd, CaseLine, GuestLine, KernelLine, RunLine, SummaryLine, Tally, Trouble, VERSION,
};
use crate::runs::RunFiles;
use crate::suite::FAIL_FAST;

/// How much of a text is kept in memory: of a failure, and of anything else.
const FAILURE_LIMIT: usize = 64 << 10;
const LIMIT: usize = 16 << 10;

/// A run, as its `report.jsonl` tells of it.
#[derive(Debug, Clone, Default)]
pub struct RunReport {
    /// The run's folder.
    pub folder: PathBuf,
    /// The first line.
    pub run: RunLine,
    /// The kernels under test, in their order.
    pub kernels: Vec<KernelLine>,
    /// The cases, in the order in which they were first over.
    pub cases: Vec<CaseResult>,
    /// The guests, in the order in which they were over.
    pub guests: Vec<GuestLine>,
    /// What went wrong and is neither a case's nor a guest's.
    pub recorded: Vec<Trouble>,
    /// The last line; none if the run was cut off.
    pub summary: Option<SummaryLine>,
}

impl RunReport {
    /// Reads the run in `folder`.
    ///
    /// # Errors
    /// When it cannot be read, or its lines are of a version that we do not know.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = RunFiles::of(folder).report_lines();
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut report = Self { folder: folder.to_owned(), ..Self::default() };
        let (mut lines, mut places) = (Lines::new(BufReader::new(file)), HashMap::new());
        while let Some((offset, line)) = lines.next().with_context(|| path.display().to_string())? {
            report
                .add_line(offset, line, &mut places)
                .with_context(|| format!("{}, byte {offset}", path.display()))?;
        }
        ensure!(report.run.version == VERSION, "{}: it has no first line", path.display());
        Ok(report)
    }

    fn add_line(&mut self, offset: u64, line: &[u8], places: &mut Places) -> Result<()> {
        #[derive(Deserialize)]
        struct Event<'a> {
            event: &'a str,
        }
        let Event { event } = serde_json::from_slice(line).context("it is no line of a report")?;
        if event != "run" && self.run.version == 0 {
            bail!("the first line is about a `{event}` and not about the run");
        }
        match event {
            "run" => {
                self.run = serde_json::from_slice(line)?;
                let version = self.run.version;
                ensure!(version == VERSION, "version {version} of the lines is not known here");
            }
            "kernel" => self.kernels.push(serde_json::from_slice(line)?),
            "guest" => self.guests.push(serde_json::from_slice(line)?),
            "trouble" => self.recorded.push(serde_json::from_slice(line)?),
            "summary" => self.summary = Some(serde_json::from_slice(line)?),
            "case" => self.case(offset, serde_json::from_slice(line)?, places),
            // New events may come within a version.
            _ => {}
        }
        Ok(())
    }

    fn case(&mut self, offset: u64, event: CaseLine, places: &mut Places) {
        let first = event.attempt.unwrap_or(1) <= 1;
        let repeat = event.repeat;
        let (id, attempt) = split(event, offset);
        let before = places.entry(id.clone()).or_default();
        // Without a number, a first attempt begins the next repetition.
        let next = before.len() as u32 + u32::from(first || before.is_empty());
        let repeat = repeat.unwrap_or(next).max(1);
        match before.iter().find(|(known, _)| *known == repeat) {
            Some((_, place)) => self.cases[*place].attempts.push(attempt),
            None => {
                before.push((repeat, self.cases.len()));
                self.cases.push(CaseResult { id, repeat, attempts: vec![attempt] });
            }
        }
    }

    /// The whole output and kernel log of an attempt, as the file has them.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub fn whole_texts(&self, attempt: &Attempt) -> Result<(String, Vec<String>)> {
        let path = RunFiles::of(&self.folder).report_lines();
        let read = || -> Result<CaseLine> {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(attempt.offset))?;
            let mut line = Vec::new();
            BufReader::new(file).read_until(b'\n', &mut line)?;
            Ok(serde_json::from_slice(&line)?)
        };
        let event = read().with_context(|| format!("cannot read {} again", path.display()))?;
        Ok((event.output, event.kernel_log))
    }

    /// How many cases were not run on each kernel, and why. Those after a case that failed are left out: that
    /// case makes the run red.
    fn not_run(&self) -> BTreeMap<(&str, &str), usize> {
        let mut counts = BTreeMap::new();
        for case in self.cases.iter().filter(|case| case.end() == CaseEnd::NotRun) {
            let why = case.last().detail.as_str();
            if why != FAIL_FAST {
                *counts.entry((case.id.kernel.as_str(), why)).or_default() += 1;
            }
        }
        counts
    }

    /// What makes the run red beside its cases: guests that ended on their own, what did not come about at
    /// all, cases that were not run, and a run or a part of it that was cut off.
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let mut say = |subject: &str, what: String| {
            troubles.push(Trouble { subject: subject.into(), what });
        };
        for guest in &self.guests {
            guest.troubles().into_iter().for_each(|what| say(&guest.guest, what));
        }
        for Trouble { subject, what } in &self.recorded {
            say(subject, what.clone());
        }
        for ((kernel, why), count) in self.not_run() {
            let cases =
                if count == 1 { "1 case was".into() } else { format!("{count} cases were") };
            say(kernel, format!("{cases} not run: {why}"));
        }
        if self.summary.is_none() {
            say(&self.run.id, "the run was cut off: its report has no summary".into());
        }
        for shard in self.run.merged.iter().filter(|shard| shard.cut_off) {
            say(&shard.id, "the run was cut off: its report has no summary".into());
        }
        for missing in missing_parts(&self.run.merged) {
            say(&missing, "this part of the cases is in none of the merged runs".into());
        }
        troubles
    }

    /// How many cases ended in which way.
    pub fn tally(&self) -> Tally {
        tally(&self.cases)
    }

    /// Returns true if the run is green: every case passed or was skipped, and nothing else went wrong.
    pub fn is_success(&self) -> bool {
        let tally = self.tally();
        tally.failed == 0 && tally.not_run == 0 && self.troubles().is_empty()
    }

    /// The names of the kernels, in their order; also of those that only cases speak of.
    pub fn kernel_names(&self) -> Vec<&str> {
        let named = self.kernels.iter().map(|kernel| kernel.kernel.as_str());
        let mut names: Vec<&str> = Vec::new();
        for name in named.chain(self.cases.iter().map(|case| case.id.kernel.as_str())) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// The repetitions of each case that were seen, and where they are kept.
type Places = HashMap<CaseId, Vec<(u32, usize)>>;

fn split(event: CaseLine, offset: u64) -> (CaseId, Attempt) {
    let limit = if event.end.is_failure() { FAILURE_LIMIT } else { LIMIT };
    let id = CaseId { kernel: event.kernel, binary: event.binary, name: event.name };
    let attempt = Attempt {
        end: event.end,
        detail: event.detail,
        complaint: event.complaint,
        seconds: event.seconds,
        guest: event.guest,
        started: event.started,
        order: event.order,
        flaky: event.flaky,
        output: Excerpt::of(&event.output, limit),
        kernel_log: Excerpt::of(&event.kernel_log.join("\n"), limit),
        left_behind: event.left_behind,
        scenario: event.scenario,
        offset,
    };
    (id, attempt)
}

/// The whole lines of a file, with where each begins.
pub(super) struct Lines<R> {
    file: R,
    line: Vec<u8>,
    next: u64,
}

impl<R: std::io::BufRead> Lines<R> {
    pub fn new(file: R) -> Self {
        Self { file, line: Vec::new(), next: 0 }
    }

    /// The next line. A last one without an end was cut off with its run, and is none.
    pub fn next(&mut self) -> Result<Option<(u64, &[u8])>> {
        self.line.clear();
        let offset = self.next;
        self.next += self.file.read_until(b'\n', &mut self.line)? as u64;
        Ok(self.line.strip_suffix(b"\n").map(|line| (offset, line)))
    }
}

#[cfg(test)]
mod tests;
