//! What a case leaves behind: named, and ended where that is safe.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use guest_agent::wire::Leftover;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use nix::unistd::Pid;

/// How long a killed process may take to go; one that is stuck in the kernel never does.
const PATIENCE: Duration = Duration::from_secs(2);

/// What there was before a case.
pub struct Before {
    processes: BTreeSet<i32>,
    mounts: Vec<String>,
    modules: BTreeSet<String>,
    taint: u64,
    clock: i64,
}

impl Before {
    pub fn now() -> Result<Self> {
        let (mounts, modules) = (mounts()?, modules()?);
        Ok(Self { processes: pids().collect(), mounts, modules, taint: taint(), clock: clock() })
    }

    /// Kills every process that was not there before, and those that they start meanwhile.
    pub fn end_processes(&self) -> Vec<Leftover> {
        let mut found = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let fresh: Vec<(i32, String)> = pids()
                .filter(|&pid| !self.processes.contains(&pid) && is_ours(pid))
                .filter_map(|pid| Some((pid, command_of(pid)?)))
                .collect();
            if fresh.is_empty() || Instant::now() >= deadline {
                let stuck = |pid| fresh.iter().any(|process| process.0 == pid);
                let named = found.into_iter().map(|(pid, name)| match stuck(pid) {
                    true => Leftover::Stuck(name),
                    false => Leftover::Process(name),
                });
                return named.collect();
            }
            for process in fresh {
                let _ = kill(Pid::from_raw(process.0), Signal::SIGKILL);
                if found.iter().all(|known| known.0 != process.0) && found.len() < 20 {
                    found.push(process);
                }
            }
            // SAFETY: waitpid(2) may be asked to forget the status.
            while unsafe { nix::libc::waitpid(-1, std::ptr::null_mut(), nix::libc::WNOHANG) } > 0 {}
            std::thread::yield_now();
        }
    }

    /// Unmounts what was not mounted before, the latest first.
    pub fn end_mounts(&self) -> Result<Vec<Leftover>> {
        let mut fresh = mounts()?;
        for known in &self.mounts {
            if let Some(index) = fresh.iter().position(|place| place == known) {
                fresh.remove(index);
            }
        }
        for place in fresh.iter().rev() {
            let _ = umount2(place.as_str(), MntFlags::MNT_DETACH);
        }
        Ok(fresh.into_iter().map(Leftover::Mount).collect())
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

/// How far the clock is ahead of the one that nobody can set, in seconds.
fn clock() -> i64 {
    let seconds = |id| clock_gettime(id).map_or(0, |time| time.tv_sec());
    seconds(ClockId::CLOCK_REALTIME) - seconds(ClockId::CLOCK_MONOTONIC)
}

/// Every process, those of the kernel too.
fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether a process descends from us. Orphans do too: they come to us and not to a guest's init,
/// whose own children, a getty that it starts again, are nobody's leftovers.
fn is_ours(pid: i32) -> bool {
    let own = std::process::id().cast_signed();
    let mut at = pid;
    while at > 1 && at != own {
        match parent_of(at) {
            Some(parent) => at = parent,
            // It has gone since it was listed.
            None => return false,
        }
    }
    at == own
}

/// The fourth field of /proc/PID/stat; the second is in parentheses, and may hold any character.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The command of a process of user space: kernel threads and the dead have none.
fn command_of(pid: i32) -> Option<String> {
    let mut line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    if line.is_empty() && fs::read_dir(format!("/proc/{pid}/task")).ok()?.count() > 1 {
        // Its first thread is dead, and another is not: that one is stuck in the kernel.
        line = fs::read(format!("/proc/{pid}/comm")).ok()?;
    }
    let text = Some(line).filter(|line| !line.is_empty());
    let text = String::from_utf8_lossy(&text?).replace('\0', " ");
    Some(text.trim_end().chars().take(200).collect())
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
