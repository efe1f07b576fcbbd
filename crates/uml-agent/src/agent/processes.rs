//! The processes that a case leaves behind. There may be a thousand, that fork without end.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uml_agent::proc_stat::Stat;
use uml_protocol::wire::Leftover;

use crate::Role;

/// The time killed processes may take until there are fewer of them, and others until they stop.
/// One that is stuck in the kernel does neither.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often they are looked at meanwhile, at least: a guest whose host was busy with others has seen
/// nothing of its time.
const TURNS: u32 = 100;

/// More processes than this are not named.
const MOST_NAMED: usize = 20;

/// The processes that are nobody's leftovers.
pub struct Processes(BTreeSet<i32>);

impl Processes {
    /// Those that there are. Beside an agent that is PID 1 there is nobody else.
    pub fn now(role: Role) -> Self {
        match role {
            Role::Init => Self(BTreeSet::from([1])),
            Role::Service => Self(pids().collect()),
        }
    }

    /// Kills all others, and those that they start meanwhile.
    pub fn end_others(&self, role: Role) -> Vec<Leftover> {
        self.stop_others(role);
        let mut found: Vec<_> = self.others_by_name(role).take(MOST_NAMED).collect();
        let (mut left, mut fewest) = (found.clone(), usize::MAX);
        let (mut deadline, mut turns) = (Instant::now() + PATIENCE, 0);
        while !left.is_empty() && (Instant::now() < deadline || turns < TURNS) {
            turns += 1;
            self.signal_others(role, Signal::SIGKILL);
            reap(|_, _| {});
            std::thread::yield_now();
            left = self.others_by_name(role).collect();
            for process in &left {
                if found.iter().all(|known| known.0 != process.0) && found.len() < MOST_NAMED {
                    found.push(process.clone());
                }
            }
            if left.len() < fewest {
                (fewest, deadline, turns) = (left.len(), Instant::now() + PATIENCE, 0);
            }
        }
        let stuck = |pid| left.iter().any(|process| process.0 == pid);
        let named = found.into_iter().map(|(pid, name)| match stuck(pid) {
            true => Leftover::Stuck(name),
            false => Leftover::Process(name),
        });
        named.collect()
    }

    /// Stops them and waits until they stand still. Who forks holds the lock that his command is read
    /// with, and not every kernel survives that he is killed within (UML's `flush_tlb_mm()` in 6.12
    /// walks into the entry that marks where `dup_mmap()` was broken off).
    fn stop_others(&self, role: Role) {
        let deadline = Instant::now() + PATIENCE;
        for turns in 0.. {
            self.signal_others(role, Signal::SIGSTOP);
            let mut moving = self.others(role).filter_map(stat_of).filter(moves);
            if moving.next().is_none() || (Instant::now() >= deadline && turns >= TURNS) {
                return;
            }
            sleep(Duration::from_millis(1));
        }
    }

    fn signal_others(&self, role: Role, signal: Signal) {
        match role {
            // All at once but for the caller (kill(2)): one by one, they could outrun us. An error says
            // that there is none.
            Role::Init => drop(kill(Pid::from_raw(-1), signal)),
            Role::Service => self.others(role).for_each(|pid| {
                let _ = kill(Pid::from_raw(pid), signal);
            }),
        }
    }

    fn others(&self, role: Role) -> impl Iterator<Item = i32> {
        let others = pids().filter(|pid| !self.0.contains(pid));
        others.filter(move |&pid| role == Role::Init || is_ours(pid))
    }

    /// Where each thread of the others is.
    pub fn where_others_are(&self, role: Role) -> impl Iterator<Item = String> {
        let threads = |pid: i32| {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            threads.filter_map(|thread| where_it_is(&thread.path()))
        };
        let is_moving = |pid: &i32| stat_of(*pid).is_some_and(|stat| moves(&stat));
        self.others(role).filter(is_moving).flat_map(threads).take(MOST_NAMED).flatten()
    }

    fn others_by_name(&self, role: Role) -> impl Iterator<Item = (i32, String)> {
        self.others(role).filter_map(|pid| Some((pid, command_of(pid)?)))
    }
}

/// Reaps every child that has ended; says whether there are others.
pub fn reap(mut ended: impl FnMut(i32, i32)) -> bool {
    loop {
        let mut status = 0;
        // Not only those that send SIGCHLD at their end.
        let options = libc::WNOHANG | libc::__WALL;
        // SAFETY: `status` is a valid place for waitpid(2) to write to.
        match unsafe { libc::waitpid(-1, &mut status, options) } {
            0 => return true,
            pid if pid < 0 => return false,
            pid => ended(pid, status),
        }
    }
}

/// Every process, those of the kernel too.
fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns true if a process descends from us. Orphans do too: they come to us and not to a guest's init,
/// whose own children, a getty that it starts again, are nobody's leftovers.
fn is_ours(pid: i32) -> bool {
    let own = std::process::id().cast_signed();
    let mut at = pid;
    while at > 1 && at != own {
        match stat_of(at) {
            Some(stat) => at = stat.parent,
            // It has gone since it was listed.
            None => return false,
        }
    }
    at == own
}

/// A process that is there.
fn stat_of(pid: i32) -> Option<Stat> {
    Stat::at(Path::new(&format!("/proc/{pid}")))
}

/// Returns true if a process neither is stopped nor dead. The kernel's own are its thread number 2, and the children
/// of that.
fn moves(stat: &Stat) -> bool {
    ![0, 2].contains(&stat.parent) && !['T', 't', 'Z', 'X'].contains(&stat.state)
}

/// What a thread does and how long it has run, and what called what in the kernel, if that tells it.
fn where_it_is(dir: &Path) -> Option<Vec<String>> {
    let Stat { name, state, ran, .. } = Stat::at(dir)?;
    let [user, kernel] = ran.map(|hundredths| hundredths as f64 / 100.0);
    let thread = dir.file_name()?.to_string_lossy();
    let ran = format!("{user} s in user space, {kernel} s in the kernel");
    // A process gives itself any name, with a newline in it too.
    let name = name.escape_debug();
    let mut lines = vec![format!("thread {thread} ({name}): {state}, {ran}")];
    // `[<0>] function+0x1/0x2`, the innermost first.
    let stack = fs::read_to_string(dir.join("stack")).unwrap_or_default();
    let calls = stack.lines().filter_map(|line| Some(format!("  {}", line.split_once(' ')?.1)));
    lines.extend(calls);
    Some(lines)
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
