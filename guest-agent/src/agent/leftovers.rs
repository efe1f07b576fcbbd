//! What a case leaves behind: named, and ended where that is safe.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use guest_agent::wire::Leftover;
use nix::mount::{MntFlags, umount2};
use nix::sys::statvfs::statvfs;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

use crate::Role;
use crate::processes::Processes;

/// More mounts than this are not named.
const MOST_NAMED: usize = 20;

/// File systems that all cases share, and how much of one a case may leave taken, in bytes.
const SHARED: [&str; 3] = ["/", "/run", "/dev/shm"];
const MOST_TAKEN: u64 = 16 << 20;

/// What there was before a case.
pub struct Before {
    processes: Processes,
    mounts: Vec<String>,
    modules: BTreeSet<String>,
    taint: u64,
    clock: i64,
    free: [Option<u64>; SHARED.len()],
}

impl Before {
    pub fn now() -> Result<Self> {
        let (mounts, modules) = (mounts()?, modules()?);
        let processes = Processes::now();
        Ok(Self { processes, mounts, modules, taint: taint(), clock: clock(), free: free() })
    }

    /// Kills every process that was not there before, and those that they start meanwhile.
    pub fn end_processes(&self, role: Role) -> Vec<Leftover> {
        self.processes.end_others(role)
    }

    /// Unmounts what was not mounted before, the latest first, and names what is gone.
    pub fn end_mounts(&self) -> Result<Vec<Leftover>> {
        let mut fresh = mounts()?;
        let mut gone = Vec::new();
        for known in &self.mounts {
            match fresh.iter().position(|place| place == known) {
                Some(index) => drop(fresh.remove(index)),
                None => gone.push(Leftover::Unmounted(known.clone())),
            }
        }
        for place in fresh.iter().rev() {
            let _ = umount2(place.as_str(), MntFlags::MNT_DETACH);
        }
        gone.extend(fresh.into_iter().take(MOST_NAMED).map(Leftover::Mount));
        Ok(gone)
    }

    /// Names the file systems that are fuller than they were.
    pub fn taken(&self) -> impl Iterator<Item = Leftover> {
        let pairs = SHARED.iter().zip(self.free).zip(free());
        pairs.filter_map(|((place, before), now)| {
            let taken = before?.saturating_sub(now?);
            (taken > MOST_TAKEN).then(|| Leftover::Space((*place).into(), taken))
        })
    }

    /// Sets the clock back to where it would be, had nobody set it.
    pub fn end_clock(&self) -> Option<Leftover> {
        let by = clock() - self.clock;
        // The two clocks are not read at once.
        if by.abs() <= 1 {
            return None;
        }
        let now = clock_gettime(ClockId::CLOCK_REALTIME).ok()?;
        let right = TimeSpec::new(now.tv_sec() - by, now.tv_nsec());
        let _ = clock_settime(ClockId::CLOCK_REALTIME, right);
        Some(Leftover::Clock(by))
    }

    /// The taint flags that were added since.
    pub fn tainted(&self) -> u64 {
        taint() & !self.taint
    }

    /// Names the modules that were not loaded before. They stay: unloading can hang.
    pub fn modules(&self) -> Result<Vec<Leftover>> {
        let now = modules()?;
        Ok(now.difference(&self.modules).cloned().map(Leftover::Module).collect())
    }
}

/// What is free on the file systems that cases share.
fn free() -> [Option<u64>; SHARED.len()] {
    SHARED.map(|place| {
        let found = statvfs(place).ok()?;
        Some(found.blocks_free() * found.fragment_size())
    })
}

/// How far the clock is ahead of the one that nobody can set, in seconds.
fn clock() -> i64 {
    let seconds = |id| clock_gettime(id).map_or(0, |time| time.tv_sec());
    seconds(ClockId::CLOCK_REALTIME) - seconds(ClockId::CLOCK_MONOTONIC)
}

fn mounts() -> Result<Vec<String>> {
    let text = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    let place = |line: &str| line.split(' ').nth(1).map(unescape);
    Ok(text.lines().filter_map(place).collect())
}

/// Undoes the octal escapes of /proc/self/mounts (proc(5)): `\040` is a space.
fn unescape(place: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(place.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

fn modules() -> Result<BTreeSet<String>> {
    // A kernel without modules has no such file.
    let text = fs::read_to_string("/proc/modules").unwrap_or_default();
    Ok(text.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect())
}

/// The kernel's taint flags (tainted-kernels.rst).
fn taint() -> u64 {
    let text = fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
