//! What a guest gets of the host's CPUs.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::confine::Proc;

/// A guest's share of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The CPU that the guest is pinned to: its several host threads run one at a time.
    pub cpu: Option<u16>,
    /// How much it yields to other guests on that CPU (nice(2)).
    pub nice: u8,
}

/// How much more a guest yields than the one before it on its CPU, and how many of them differ.
///
/// Guests that share a CPU evenly fall into step: they all work, each at a fraction of the speed, and then
/// all sleep, and the CPU with them. Four guests with cases that sleep for 50 ms and work for 8 take
/// 80 ms a case after twenty of them, and 60 where one goes before the other.
const STEP: u8 = 2;
const STEPS: usize = 4;

impl Share {
    /// The shares of so many guests at once.
    pub fn of_guests(number: usize) -> Vec<Self> {
        shares(number, &cpus())
    }

    /// Gives this process, and what it starts, that share. Less is no reason not to run: a CPU may have
    /// been taken from us.
    pub(super) fn apply_to_self(self, proc: Option<&Proc>) {
        if self.nice > 0 {
            // SAFETY: nice(2) takes a plain number.
            unsafe { nix::libc::nice(self.nice.into()) };
            // Where sessions are groups, a process is nice to its own session alone (sched(7)).
            let _ = proc.map(|proc| proc.write_own("autogroup", &self.nice.to_string()));
        }
        let Some(cpu) = self.cpu else { return };
        let mut set = CpuSet::new();
        if set.set(cpu.into()).is_ok() {
            let _ = sched_setaffinity(Pid::from_raw(0), &set);
        }
    }
}

fn shares(number: usize, cpus: &[u16]) -> Vec<Share> {
    let guests = 0..number;
    let share = |guest: usize| match cpus {
        [] => Share::default(),
        cpus => Share {
            cpu: Some(cpus[guest % cpus.len()]),
            nice: STEP * (guest / cpus.len() % STEPS) as u8,
        },
    };
    guests.map(share).collect()
}

/// The CPUs that we may run on: they need not begin with number 0.
pub(crate) fn cpus() -> Vec<u16> {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
    let numbers = 0..CpuSet::count();
    numbers
        .filter(|&cpu| allowed.is_set(cpu) == Ok(true))
        .filter_map(|cpu| u16::try_from(cpu).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_on_one_cpu_are_not_alike_and_none_yields_for_ever() {
        let shares = |number| {
            let shares = shares(number, &[1, 3]).into_iter();
            shares.map(|share| (share.cpu.unwrap(), share.nice)).collect::<Vec<_>>()
        };
        assert_eq!(shares(3), [(1, 0), (3, 0), (1, STEP)]);
        assert_eq!(shares(100).iter().map(|share| share.1).max(), Some(STEP * 3));
    }

    #[test]
    fn a_host_that_does_not_say_which_cpus_it_has_pins_nobody() {
        assert_eq!(super::shares(2, &[]), [Share::default(); 2]);
    }
}
