//! Limits of time that a busy host does not use up: what a guest waited for a CPU is added to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::complaint::Complaint;
use super::host::HostProcess;

/// With what the host withheld, a limit is at most so many times as long as without.
const MOST: u32 = 10;

/// How often it is looked at how long a guest waits for a CPU.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// A case is not asked to go on for less.
const LEAST_EXTENSION: Duration = Duration::from_millis(50);

/// The time we kept a guest waiting for something that it asked us for, as if the host had withheld that time.
#[derive(Debug, Default)]
pub struct KeptWaiting(AtomicU64);

impl KeptWaiting {
    /// So much longer.
    pub fn add(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(millis, Ordering::Relaxed);
    }

    fn so_far(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// The times of a guest: what was granted to it last, and to its case.
#[derive(Debug)]
pub struct Times {
    granted: Option<Limit>,
    /// What the case that ran last may take, and by how much that was extended.
    case: Option<(Limit, Duration)>,
    /// The time we kept it waiting for something.
    kept_waiting: Arc<KeptWaiting>,
    /// What the host had withheld when that was looked at last, and when.
    seen: (Duration, Instant),
}

impl Times {
    /// Of a guest that was powered on then.
    pub fn new(powered_on: Instant) -> Self {
        let kept_waiting = Arc::default();
        Self { granted: None, case: None, kept_waiting, seen: (Duration::ZERO, powered_on) }
    }

    /// Where it is counted how long we keep it waiting.
    pub fn kept_waiting(&self) -> Arc<KeptWaiting> {
        Arc::clone(&self.kept_waiting)
    }

    /// Grants it so much, from now on.
    pub fn grant(&mut self, time: Duration) {
        self.granted = Some(Limit::new(time, self.seen.0));
    }

    /// It need not hurry any more.
    pub fn grant_all(&mut self) {
        self.granted = None;
    }

    /// A case begins that may take so long.
    pub fn begin_case(&mut self, time: Duration) {
        self.case = Some((Limit::new(time, self.seen.0), Duration::ZERO));
    }

    /// What is left of the time that was granted, if it was; zero once it is over.
    pub fn left(&mut self, guest: &mut dyn HostProcess) -> Option<Duration> {
        if self.seen.1.elapsed() >= LOOK_PERIOD {
            self.look(guest);
        }
        let limit = self.granted?;
        let left = limit.left_with(limit.before);
        if !left.is_zero() {
            return Some(left);
        }
        let left = limit.left_with(self.look(guest));
        if left.is_zero() {
            self.granted = None;
        }
        Some(left)
    }

    /// How much longer the case may take whose time is over by the guest's clock.
    pub fn more_for_case(&mut self, guest: &mut dyn HostProcess) -> Duration {
        let withheld = self.look(guest);
        let Some((limit, extended)) = &mut self.case else { return Duration::ZERO };
        let more = limit.extension(withheld).saturating_sub(*extended);
        if more < LEAST_EXTENSION {
            return Duration::ZERO;
        }
        *extended += more;
        more
    }

    /// What the host withheld since the case began that ran last.
    pub fn withheld_from_case(&mut self, guest: &mut dyn HostProcess) -> Duration {
        let withheld = self.look(guest);
        self.case.map_or(Duration::ZERO, |(limit, _)| withheld.saturating_sub(limit.before))
    }

    fn look(&mut self, guest: &mut dyn HostProcess) -> Duration {
        let withheld = guest.withheld() + self.kept_waiting.so_far();
        self.seen = (withheld, Instant::now());
        withheld
    }
}

/// A time that was granted to a guest.
#[derive(Debug, Clone, Copy)]
struct Limit {
    time: Duration,
    until: Instant,
    /// What the host had withheld from the guest before.
    before: Duration,
}

impl Limit {
    /// From now on. `withheld` is what the host has withheld from the guest by now.
    fn new(time: Duration, withheld: Duration) -> Self {
        Self { time, until: Instant::now() + time, before: withheld }
    }

    /// How much longer it is by now for what the host withheld.
    fn extension(&self, withheld: Duration) -> Duration {
        withheld.saturating_sub(self.before).min(self.time * (MOST - 1))
    }

    /// What is left.
    fn left_with(&self, withheld: Duration) -> Duration {
        (self.until + self.extension(withheld)).saturating_duration_since(Instant::now())
    }
}

/// Detectors that go by the clock, and the time that each waits where its line does not say it.
const BY_THE_CLOCK: [(&str, u64); 4] =
    [("soft-lockup", 20), ("hung-task", 15), ("rcu-stall", 20), ("workqueue", 30)];

/// Returns true if a detector spoke that goes by the clock, of a time of which the host withheld half.
pub fn is_starved(complaint: &Complaint, withheld: Duration) -> bool {
    let known = BY_THE_CLOCK.iter().find(|(name, _)| *name == complaint.name);
    known.is_some_and(|(_, usual)| {
        let seconds = seconds_in(&complaint.line).unwrap_or(*usual);
        withheld >= Duration::from_secs(seconds) / 2
    })
}

/// The time that a line is about: `stuck for 26s!`, `blocked for more than 15 seconds`.
fn seconds_in(line: &str) -> Option<u64> {
    let (_, after) = line.split_once(" for ")?;
    let digits = after.trim_start_matches("more than ");
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    let unit = digits[end..].trim_start();
    unit.starts_with('s').then(|| digits[..end].parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_limit_grows_by_what_the_host_withheld_and_not_for_ever() {
        let limit = Limit::new(seconds(60), seconds(5));
        assert_eq!(limit.extension(seconds(5)), Duration::ZERO);
        assert_eq!(limit.extension(seconds(25)), seconds(20));
        assert_eq!(limit.extension(seconds(100_000)), seconds(540));
        assert!(limit.left_with(seconds(25)) > limit.left_with(seconds(5)) + seconds(19));
    }

    #[test]
    fn a_detector_that_went_by_the_clock_of_a_busy_host_is_known() {
        let complaint = |name, line: &str| Complaint { name, line: line.into() };
        let lockup =
            complaint("soft-lockup", "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [x:1]");
        assert!(is_starved(&lockup, seconds(13)) && !is_starved(&lockup, seconds(12)));
        let hung = complaint("hung-task", "INFO: task x:47 blocked for more than 15 seconds.");
        assert!(is_starved(&hung, seconds(8)) && !is_starved(&hung, seconds(7)));
        let stall =
            complaint("rcu-stall", "INFO: rcu_sched detected stall on CPU 0 (t=6000 jiffies)");
        assert!(is_starved(&stall, seconds(10)) && !is_starved(&stall, seconds(9)));
        let warning = complaint("warning", "WARNING: at x.c:3");
        assert!(!is_starved(&warning, seconds(1000)));
    }
}
