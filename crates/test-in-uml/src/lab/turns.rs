//! How many cases may have guests beside their own at once: so many that none of them waits for ever for memory that
//! others have. The others wait until one is over.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// So many guests are thought of for each case that has some.
const GUESTS: u64 = 8;

/// The turns of a run.
#[derive(Debug)]
pub struct Turns {
    left: Mutex<u64>,
    more: Condvar,
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'t>(&'t Turns);

impl Turns {
    /// Of a run that has so much memory left, in bytes, for guests of that size.
    pub fn of_memory(left: u64, guest: u64) -> Self {
        let turns = (left / (GUESTS * guest.max(1))).max(1);
        Self { left: Mutex::new(turns), more: Condvar::new() }
    }

    /// Waits for a turn, for as long as it is wanted: `wanted` is asked each time that so long has gone by.
    pub(super) fn wait(
        &self,
        period: Duration,
        mut wanted: impl FnMut() -> bool,
    ) -> Option<Turn<'_>> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        while *left == 0 {
            let (guard, timeout) =
                self.more.wait_timeout(left, period).unwrap_or_else(PoisonError::into_inner);
            left = guard;
            if timeout.timed_out() && !wanted() {
                return None;
            }
        }
        *left -= 1;
        Some(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.left.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.more.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_turns_as_memory_and_one_at_least() {
        for (left, turns) in [(0, 1), (8, 1), (15, 1), (16, 2), (80, 10)] {
            let all = Turns::of_memory(left, 1);
            let period = Duration::from_millis(1);
            let taken: Vec<_> = (0..turns).filter_map(|_| all.wait(period, || false)).collect();
            assert_eq!(taken.len(), turns, "{left}");
            assert!(all.wait(period, || false).is_none());
            drop(taken);
            assert!(all.wait(period, || false).is_some());
        }
    }
}
