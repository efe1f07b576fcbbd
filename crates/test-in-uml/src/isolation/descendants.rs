//! The processes below one of ours, where no PID namespace ends them with it.
//!
//! Whoever adopts orphans (PR_SET_CHILD_SUBREAPER in prctl(2)) has everything that was ever started below it in its own
//! tree of processes, whatever that does: a process can choose its session and its group, and not its parent.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::namespace::reap;

/// What was stopped stands after a while, and what was killed is gone.
const A_WHILE: Duration = Duration::from_millis(1);

/// Whoever does not stand after so many times is killed as it is.
const MOST_STOPS: u32 = 200;

/// Becomes the parent of whatever loses its own below us.
pub(crate) fn adopt_orphans() -> Result<()> {
    nix::sys::prctl::set_child_subreaper(true).context("cannot adopt orphans")
}

/// How to be sure that nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// By each process's list of its children, which may miss one whose sibling ends at that moment (proc(5)): enough for
    /// who is not the last to look.
    Lists,
    /// By the parents of all processes of this host, when the lists have none any more.
    All,
}

/// Kills everything below us, and waits until nothing is left there.
pub(crate) fn end_own_descendants(search: Search) {
    end_below(getpid(), |_| false, search, || while reap().is_some() {});
}

/// Kills the children that we did not start, and all that is below them, and waits until these are gone; what is
/// `ours` stays. One that is missed ends when we do.
pub(crate) fn end_adopted(ours: impl Fn(Pid) -> bool) {
    end_below(getpid(), ours, Search::Lists, || {});
}

/// Ends a child of ours, and all that is below it. It is not reaped.
pub(crate) fn end_with_descendants(child: Pid) {
    // It must not start any more, nor tell how what is below it ended.
    let _ = kill(child, Signal::SIGSTOP);
    end_below(child, |_| false, Search::All, || {});
    let _ = kill(child, Signal::SIGKILL);
}

/// Kills each process below this one, but for its children that are `spared` and what is below these, and waits until
/// they are gone. None of them sees another's end: they are stopped before. A guest's kernel would panic otherwise, or its
/// processes, which it traces, go on without it.
fn end_below(root: Pid, spared: impl Fn(Pid) -> bool, search: Search, meanwhile: impl Fn()) {
    let mut stops = 0;
    loop {
        let mut below = below(root, &spared, &children_of);
        if below.is_empty() && (search == Search::All || !has_lists()) {
            let all = processes();
            below = self::below(root, &spared, &|parent| {
                all.iter().filter(|process| process.parent == parent).copied().collect()
            });
        }
        if below.is_empty() {
            return;
        }
        let all_stand = below.iter().all(Process::stands);
        let signal =
            if all_stand || stops >= MOST_STOPS { Signal::SIGKILL } else { Signal::SIGSTOP };
        stops += 1;
        for process in below.iter().filter(|process| all_stand || !process.stands()) {
            let _ = kill(process.id, signal);
        }
        meanwhile();
        std::thread::sleep(A_WHILE);
    }
}

/// The processes below this one that live, but for its children that are `spared` and what is below these.
fn below(
    root: Pid,
    spared: impl Fn(Pid) -> bool,
    children_of: &dyn Fn(Pid) -> Vec<Process>,
) -> Vec<Process> {
    let (mut parents, mut found) = (vec![root], Vec::new());
    while let Some(parent) = parents.pop() {
        let children = children_of(parent).into_iter();
        let wanted = children.filter(|child| parent != root || !spared(child.id));
        for child in wanted {
            parents.push(child.id);
            found.push(child);
        }
    }
    found.retain(Process::lives);
    found
}

/// The children of a process, where the kernel tells (CONFIG_PROC_CHILDREN).
fn children_of(parent: Pid) -> Vec<Process> {
    threads(parent.as_raw())
        .into_iter()
        .flat_map(|thread| children(parent.as_raw(), thread))
        .filter_map(process)
        .collect()
}

/// Returns true if the kernel tells the children of a process.
fn has_lists() -> bool {
    fs::exists("/proc/thread-self/children").unwrap_or(false)
}

/// The threads of a process.
pub(crate) fn threads(process: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// The children that a thread of a process has, where the kernel tells.
pub(crate) fn children(process: i32, thread: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/children"));
    text.unwrap_or_default().split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// A process, as proc(5) shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    id: Pid,
    parent: Pid,
    state: char,
}

impl Process {
    /// Returns true if it is not dead and waits to be reaped.
    fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// Returns true if it is stopped, by a signal or by who traces it.
    fn stands(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(process).collect()
}

fn process(id: i32) -> Option<Process> {
    parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// A process's `stat`. Its name comes second, in brackets, and may have any bytes.
fn parse(stat: &str) -> Option<Process> {
    let (id, rest) = stat.split_once(' ')?;
    let mut fields = rest.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Process {
        id: Pid::from_raw(id.parse().ok()?),
        parent: Pid::from_raw(parent),
        state: state.chars().next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_anything() {
        let pid = Pid::from_raw;
        for (stat, id, parent, state) in [
            ("12 (sh) S 7 12 12 0", 12, 7, 'S'),
            ("13 (a) R 1 (b) Z 8 13", 13, 8, 'Z'),
            ("14 (a b)c) t 9", 14, 9, 't'),
        ] {
            assert_eq!(parse(stat), Some(Process { id: pid(id), parent: pid(parent), state }));
        }
        assert_eq!(parse("garbage"), None);
    }

    #[test]
    fn we_are_among_the_processes() {
        let own = processes().into_iter().find(|process| process.id == getpid()).unwrap();
        assert_eq!((own.parent, own.lives()), (Pid::parent(), true));
        assert!(threads(getpid().as_raw()).contains(&getpid().as_raw()));
    }
}
