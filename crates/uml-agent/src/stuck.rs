//! A process that is over but for threads that are stuck in the kernel.
//!
//! Its first thread is a zombie that nobody can reap while others live, so that its parent hears nothing:
//! no SIGCHLD, no status, no word of waitpid(2). A process whose first thread has ended by itself
//! (pthread_exit(3)) looks the same, and goes on: there nobody was sent SIGKILL.

use std::fs;
use std::path::Path;

use nix::libc::SIGKILL;

use crate::proc_stat::Stat;

/// What is known of a process that is over but for its threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// How it ended, as wait(2) would say: the kernel tells since 3.5.
    pub status: Option<i32>,
    /// The names of the threads that cannot end.
    pub stuck: Vec<String>,
}

/// Looks at a process of which the same is to be seen twice: a thread that writes to a slow disk is stuck
/// for a moment only.
#[derive(Debug, Default)]
pub struct Looks {
    before: Option<Over>,
}

impl Looks {
    /// Looks at the process once more; call this about once a second. Says how it ended if nothing has
    /// changed since.
    pub fn look(&mut self, proc: &Path, pid: i32) -> Option<Over> {
        let now = over_but_for_threads(proc, pid);
        let before = std::mem::replace(&mut self.before, now.clone());
        now.filter(|now| before.as_ref() == Some(now))
    }
}

/// Whether all that is left of the process `pid` are threads that were killed and are stuck in the kernel.
/// `proc` is where a /proc is mounted.
pub fn over_but_for_threads(proc: &Path, pid: i32) -> Option<Over> {
    let dir = proc.join(pid.to_string());
    let leader = Stat::at(&dir)?;
    if leader.state != 'Z' {
        return None;
    }
    let mut stuck = Vec::new();
    for thread in fs::read_dir(dir.join("task")).ok()?.flatten() {
        // One that has gone meanwhile is none that is stuck.
        let Some(stat) = Stat::at(&thread.path()) else { continue };
        match stat.state {
            'Z' | 'X' => {}
            'D' if was_killed(&thread.path()) => stuck.push(stat.name),
            _ => return None,
        }
    }
    (!stuck.is_empty()).then_some(Over { status: leader.status, stuck })
}

/// Returns true if the thread has a SIGKILL that it has not come to: each of a process that ends is sent one.
fn was_killed(thread: &Path) -> bool {
    let text = fs::read(thread.join("status")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // Of the thread, and of the process.
    let pending = text.lines().filter_map(|line| {
        let (name, mask) = line.split_once(':')?;
        ["SigPnd", "ShdPnd"].contains(&name).then(|| u64::from_str_radix(mask.trim(), 16).ok())?
    });
    pending.fold(0, |all, mask| all | mask) & (1 << (SIGKILL - 1)) != 0
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A /proc with the process 40, whose threads are these: number, state, and what is pending.
    fn proc(threads: &[(i32, char, u64)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let process = dir.path().join("40");
        for (id, state, pending) in threads {
            let thread = process.join("task").join(id.to_string());
            fs::create_dir_all(&thread).unwrap();
            let rest = "0 ".repeat(48);
            let stat = format!("{id} (a) b {id}) {state} {rest}256\n");
            fs::write(thread.join("stat"), &stat).unwrap();
            let status = format!("Name:\tx\nSigPnd:\t{pending:016x}\nShdPnd:\t{:016x}\n", 0);
            fs::write(thread.join("status"), status).unwrap();
            if *id == 40 {
                fs::write(process.join("stat"), &stat).unwrap();
            }
        }
        dir
    }

    const KILL: u64 = 1 << 8;

    #[test]
    fn a_process_whose_threads_are_stuck_is_over() {
        let dir = proc(&[(40, 'Z', 0), (41, 'D', KILL), (42, 'X', 0), (43, 'D', KILL | 1)]);
        let over = over_but_for_threads(dir.path(), 40).unwrap();
        let mut stuck = over.stuck;
        stuck.sort();
        assert_eq!(stuck, ["a) b 41", "a) b 43"]);
        assert_eq!(over.status, Some(256));
    }

    #[test]
    fn a_process_that_goes_on_is_not_over() {
        for threads in [
            // Its first thread lives, or nothing is left of it but what is to be reaped.
            &[(40, 'S', 0), (41, 'D', KILL)][..],
            &[(40, 'Z', 0)],
            // Its first thread has ended by itself: a disk that is slow, one that runs, one that waits.
            &[(40, 'Z', 0), (41, 'D', 0)],
            &[(40, 'Z', 0), (41, 'R', 0)],
            &[(40, 'Z', 0), (41, 'S', 0), (42, 'D', KILL)],
            // It was killed, and is about to end.
            &[(40, 'Z', 0), (41, 'R', KILL)],
        ] {
            assert_eq!(over_but_for_threads(proc(threads).path(), 40), None, "{threads:?}");
        }
        assert_eq!(over_but_for_threads(Path::new("/nowhere"), 40), None);
    }

    #[test]
    fn what_is_seen_once_may_be_over_in_a_moment() {
        let dir = proc(&[(40, 'Z', 0), (41, 'D', KILL), (42, 'D', KILL)]);
        let mut looks = Looks::default();
        assert_eq!(looks.look(dir.path(), 40), None);
        fs::remove_dir_all(dir.path().join("40/task/42")).unwrap();
        assert_eq!(looks.look(dir.path(), 40), None, "one has ended since");
        assert!(looks.look(dir.path(), 40).is_some());
    }

    #[test]
    fn processes_that_are_really_there_are_not_over() {
        let proc = Path::new("/proc");
        assert_eq!(over_but_for_threads(proc, std::process::id().cast_signed()), None);
        // A zombie with no other thread.
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let pid = child.id().cast_signed();
        while Stat::at(&proc.join(pid.to_string())).is_some_and(|stat| stat.state != 'Z') {
            std::thread::yield_now();
        }
        assert_eq!(over_but_for_threads(proc, pid), None);
        child.wait().unwrap();
        assert_eq!(over_but_for_threads(proc, pid), None);
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_by_itself_is_not_over() {
        // SAFETY: the child makes one thread with memory of its own, and ends its first one.
        let child = unsafe { nix::unistd::fork() }.unwrap();
        let nix::unistd::ForkResult::Parent { child } = child else {
            extern "C" fn sleep(_: *mut nix::libc::c_void) -> *mut nix::libc::c_void {
                // SAFETY: pause(2) takes nothing.
                unsafe { nix::libc::pause() };
                std::ptr::null_mut()
            }
            let mut thread = 0;
            // SAFETY: the place for the number is valid, and the function takes nothing.
            unsafe {
                let none = std::ptr::null_mut();
                nix::libc::pthread_create(&mut thread, std::ptr::null(), sleep, none);
                nix::libc::syscall(nix::libc::SYS_exit, 0);
                nix::libc::_exit(1)
            }
        };
        let dir = format!("/proc/{child}");
        while Stat::at(Path::new(&dir)).is_some_and(|stat| stat.state != 'Z') {
            std::thread::yield_now();
        }
        let found = over_but_for_threads(Path::new("/proc"), child.as_raw());
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(child, None).unwrap();
        assert_eq!(found, None);
    }
}
