//! What a case leaves behind: named, and ended where that is safe.

use std::collections::BTreeSet;

use anyhow::Result;
use nix::mount::{MntFlags, umount2};
use nix::sys::statvfs::statvfs;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use uml_protocol::wire::Leftover;

use crate::module_events::ModuleEvents;
use crate::network::Network;
use crate::package_files::PackageFiles;
use crate::proc_files::Proc;
use crate::processes::{Processes, reap};
use crate::settings::Settings;
use crate::{Role, init};

/// More mounts than this are not named.
const MOST_NAMED: usize = 20;

/// File systems that all cases share, and how much of one a case may leave taken, in bytes.
const SHARED: [&str; 3] = ["/", "/run", "/dev/shm"];
const MOST_TAKEN: u64 = 16 << 20;

/// What there is beside cases, held against what there is after one.
pub struct Watch {
    role: Role,
    processes: Processes,
    proc: Proc,
    mounts: Vec<String>,
    modules: BTreeSet<String>,
    taint: u64,
    clock: i64,
    free: [Option<u64>; SHARED.len()],
    settings: Settings,
    network: Network,
    module_events: ModuleEvents,
}

/// What has changed meanwhile.
#[derive(Default)]
pub struct Changes {
    pub leftovers: Vec<Leftover>,
    /// The modules that were loaded, also those that are gone again.
    pub loaded: Vec<String>,
}

impl Watch {
    pub fn new(role: Role) -> Result<Self> {
        let proc = Proc::open()?;
        Ok(Self {
            role,
            processes: Processes::now(role),
            mounts: proc.mounts()?,
            modules: BTreeSet::new(),
            taint: 0,
            clock: clock(),
            free: [None; SHARED.len()],
            settings: Settings::watch()?,
            network: Network::watch()?,
            module_events: ModuleEvents::watch()?,
            proc,
        })
    }

    /// Takes stock before a case.
    pub fn begin(&mut self) -> Result<()> {
        if self.role == Role::Service {
            self.processes = Processes::now(self.role);
        }
        if self.proc.mounts_changed() {
            self.mounts = self.proc.mounts()?;
        }
        self.modules = self.proc.modules()?;
        self.taint = self.proc.taint()?;
        self.free = free();
        Ok(())
    }

    /// Where each thread is of the processes that were not there before.
    pub fn where_they_are(&self) -> impl Iterator<Item = String> {
        self.processes.where_others_are(self.role)
    }

    /// Kills every process that was not there before, and those that they start meanwhile.
    pub fn end_processes(&self) -> Result<Vec<Leftover>> {
        let some_are_left = reap(|_, _| {});
        if self.role == Role::Init && !some_are_left {
            // Each process descends from PID 1.
            return Ok(Vec::new());
        }
        // Without it they are not found.
        let mut leftovers = Vec::from_iter(init::mount_proc_again()?);
        leftovers.extend(self.processes.end_others(self.role));
        Ok(leftovers)
    }

    /// Names what else is not what it was: settings, the network, the packages, mounts. Those that were not there before
    /// are unmounted.
    pub fn end_changes(&self, files: &PackageFiles) -> Result<Changes> {
        let others = [
            self.settings.as_fd(),
            self.network.as_fd(),
            self.module_events.as_fd(),
            files.as_fd(),
        ];
        let (mounts, [settings, network, modules, packages]) = self.proc.changed(others);
        let mut leftovers = if mounts { self.end_mounts()? } else { Vec::new() };
        leftovers.extend(if settings { self.settings.written() } else { Vec::new() });
        leftovers.extend(if network { self.network.changed() } else { Vec::new() });
        leftovers.extend(packages.then(|| files.changed()).flatten());
        let loaded = if modules { self.module_events.loaded() } else { Vec::new() };
        Ok(Changes { leftovers, loaded })
    }

    /// Unmounts what was not mounted before, the latest first, and names what is gone.
    fn end_mounts(&self) -> Result<Vec<Leftover>> {
        let mut gone = Vec::from_iter(init::mount_proc_again()?);
        let mut fresh = self.proc.mounts()?;
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
    pub fn tainted(&self) -> Result<u64> {
        Ok(self.proc.taint()? & !self.taint)
    }

    /// Names the modules that were not loaded before. They stay: unloading can hang.
    pub fn modules(&self) -> Result<Vec<Leftover>> {
        let now = self.proc.modules()?;
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
