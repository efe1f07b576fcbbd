//! Processes: each has its own registers, and a child begins with its parent's.

use anyhow::Result;
use nix::libc;
use uml_test::TestResult;

use crate::hold::{Meanwhile, hold};
use crate::registers::{Registers, Width};
use crate::threads::take_turns;
use crate::unix::{Baton, Child};

#[test]
fn processes_that_take_turns_keep_their_registers() -> TestResult {
    let batons = (0..4).map(|_| Baton::new()).collect::<Result<Vec<_>>>()?;
    let set = |own: usize, round| Registers::pattern(Width::widest(), (own as u64) << 32 | round);
    let children = (0..batons.len())
        .map(|own| Child::fork(|| take_turns(&batons, own, set)))
        .collect::<Result<Vec<_>>>()?;
    batons[0].give()?;
    children.into_iter().try_for_each(Child::succeed)?;
    Ok(())
}

/// Forks while registers are held; parent and child look at them.
pub fn fork_and_look(set: &Registers) -> Result<()> {
    let mut fork = Meanwhile::fork();
    let found = hold(set, &mut fork);
    let child = Child::of(&fork, || set.expect(&found))?;
    set.expect(&found)?;
    child.succeed()
}

#[test]
fn a_child_starts_with_the_registers_of_its_parent() -> TestResult {
    for seed in 0..50 {
        fork_and_look(&Registers::pattern(Width::widest(), seed))?;
    }
    Ok(())
}

#[test]
fn a_child_of_a_thread_starts_with_the_registers_of_that_thread() -> TestResult {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3_u64)
            .map(|thread| {
                scope.spawn(move || {
                    (0..15).try_for_each(|seed| {
                        fork_and_look(&Registers::pattern(Width::widest(), thread << 32 | seed))
                    })
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    Ok(())
}

#[test]
fn registers_survive_the_end_of_a_child() -> TestResult {
    for seed in 0..50 {
        let child = Child::fork(|| {
            let other = Registers::pattern(Width::widest(), !seed);
            other.expect(&hold(&other, &mut Meanwhile::yielding()))
        })?;
        let set = Registers::pattern(Width::widest(), seed);
        // The child is left to be reaped: whether it succeeded is asked for afterwards.
        let options = i64::from(libc::WEXITED | libc::WNOWAIT);
        let (kind, pid) = (i64::from(libc::P_PID), i64::from(child.pid()));
        // SAFETY: waitid(2) writes nothing when no place is given.
        let mut wait = unsafe { Meanwhile::call(libc::SYS_waitid, [kind, pid, 0, options, 0]) };
        set.expect(&hold(&set, &mut wait))?;
        child.succeed()?;
        assert_eq!(wait.result(), 0, "waitid failed");
    }
    Ok(())
}

#[test]
fn registers_survive_system_calls_and_sleeps() -> TestResult {
    let pause = libc::timespec { tv_sec: 0, tv_nsec: 100_000 };
    for seed in 0..50 {
        let set = Registers::pattern(Width::widest(), seed);
        // SAFETY: getppid(2) takes nothing, and nanosleep(2) reads the time only.
        let calls = unsafe {
            [
                Meanwhile::call(libc::SYS_getppid, []),
                Meanwhile::call(libc::SYS_nanosleep, [std::ptr::from_ref(&pause) as i64, 0]),
            ]
        };
        for mut call in calls {
            set.expect(&hold(&set, &mut call))?;
            assert!(call.result() >= 0, "a system call failed with error {}", -call.result());
        }
    }
    Ok(())
}
