//! How far a run is: what moves on a terminal while it goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::record::{CaseLine, Tally};
use crate::ui::human_duration;

/// A case that takes longer than this is named.
const SLOW: Duration = Duration::from_secs(10);

/// What moves more often than this nobody can read.
const PERIOD: Duration = Duration::from_millis(100);

/// So many running cases are named; the others are counted.
const NAMED: usize = 8;

#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    cases: usize,
    tally: Tally,
    running: BTreeMap<usize, RunningCase>,
    drawn: Option<Instant>,
}

#[derive(Debug)]
struct RunningCase {
    what: String,
    since: Instant,
    slow: bool,
}

impl Progress {
    /// Towards the end of so many cases.
    pub fn towards(cases: usize) -> Self {
        let (started, tally) = (Instant::now(), Tally::default());
        Self { started, cases, tally, running: BTreeMap::new(), drawn: None }
    }

    pub fn begins(&mut self, seat: usize, what: String) {
        self.running.insert(seat, RunningCase { what, since: Instant::now(), slow: false });
    }

    pub fn ends(&mut self, seat: usize) {
        self.running.remove(&seat);
    }

    pub fn count(&mut self, case: &CaseLine) {
        self.tally.count(case.end, case.flaky);
    }

    /// Cases that have become slow since this was asked last.
    pub fn newly_slow(&mut self) -> Vec<(String, Duration)> {
        let mut slow = Vec::new();
        for running in self.running.values_mut() {
            if !running.slow && running.since.elapsed() >= SLOW {
                running.slow = true;
                slow.push((running.what.clone(), SLOW));
            }
        }
        slow
    }

    /// The lines that move, if it is time to draw them again.
    pub fn due(&mut self) -> Option<Vec<String>> {
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < PERIOD) {
            return None;
        }
        self.drawn = Some(Instant::now());
        Some(self.lines())
    }

    fn lines(&self) -> Vec<String> {
        let Tally { passed, failed, skipped, known, .. } = self.tally;
        let known = if known > 0 { format!(", {known} known") } else { String::new() };
        let done = self.tally.listed();
        let took = human_duration(Duration::from_secs(self.started.elapsed().as_secs()));
        let mut lines = vec![format!(
            "{:>12} [{took:>8}] {done}/{} cases: {} running, {passed} passed, {failed} failed, \
             {skipped} skipped{known}",
            "Running",
            self.cases,
            self.running.len(),
        )];
        for running in self.running.values().take(NAMED) {
            let seconds = running.since.elapsed().as_secs_f64();
            lines.push(format!("{:>12} [{seconds:>8.1}s] {}", "", running.what));
        }
        if self.running.len() > NAMED {
            lines.push(format!("{:>12} … and {} more", "", self.running.len() - NAMED));
        }
        lines
    }
}
