//! How long a guest had to wait for a CPU of the host: limits of time follow what it was given.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::isolation::{children, threads};

/// The waits of a guest's processes, added up from look to look.
#[derive(Debug, Default)]
pub struct Withheld {
    /// The keeper of the guest, by its number on the host; looked for once.
    keeper: Option<Option<i32>>,
    /// Nanoseconds that each thread has waited, by its number.
    threads: BTreeMap<i32, u64>,
    /// Nanoseconds that threads had waited that are gone.
    gone: u64,
}

impl Withheld {
    /// The time threads of the guest with the keeper `id` on the stage of that process were ready to run and did not, since it was started; of threads that
    /// ended between two looks only what was seen. Nothing where the host does not tell (it needs
    /// CONFIG_SCHED_INFO and CONFIG_PROC_CHILDREN).
    pub fn look(&mut self, stage: i32, id: i32) -> Duration {
        let keeper = *self.keeper.get_or_insert_with(|| keeper(stage, id));
        let mut left = Vec::from_iter(keeper);
        while let Some(process) = left.pop() {
            for thread in threads(process) {
                left.extend(children(process, thread));
                self.count(thread, waited(process, thread));
            }
        }
        Duration::from_nanos(self.threads.values().sum::<u64>() + self.gone)
    }

    fn count(&mut self, thread: i32, waited: Option<u64>) {
        let Some(waited) = waited else { return };
        let before = self.threads.insert(thread, waited).unwrap_or(0);
        if waited < before {
            // Another one has that number now.
            self.gone += before;
        }
    }
}

/// The keeper that the stage's PID 1 knows as `id`.
fn keeper(stage: i32, id: i32) -> Option<i32> {
    let of_main = |process: i32| children(process, process);
    let keepers = of_main(stage).into_iter().flat_map(of_main);
    keepers.into_iter().find(|keeper| {
        let status = fs::read_to_string(format!("/proc/{keeper}/status")).unwrap_or_default();
        // Its numbers from the outermost namespace to its own, in which it is 1 (proc(5)); the last is what the stage
        // knows where there are none.
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let numbers: Vec<&str> = numbers.unwrap_or_default().split_whitespace().collect();
        let is = |number: &&str| number.parse() == Ok(id);
        match numbers.as_slice() {
            [.., known, "1"] => is(known),
            [.., known] => is(known),
            [] => false,
        }
    })
}

/// Nanoseconds that a thread has waited to run: the second of three numbers (sched-stats.rst).
fn waited(process: i32, thread: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat")).ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_waited_that_are_gone_counts_too() {
        let mut withheld = Withheld::default();
        for (thread, waited) in [(7, 100), (8, 50), (7, 150), (8, 20)] {
            withheld.count(thread, Some(waited));
        }
        withheld.count(9, None);
        assert_eq!(withheld.threads.values().sum::<u64>() + withheld.gone, 150 + 20 + 50);
    }

    #[test]
    fn this_host_tells_how_long_a_thread_has_waited() {
        let own = std::process::id().cast_signed();
        assert!(threads(own).contains(&own));
        assert!(waited(own, own).is_some());
    }
}
