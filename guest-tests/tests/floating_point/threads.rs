//! Threads of one process share an address space, and in User Mode Linux a host process.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use uml_test::TestResult;

use crate::hold::{Meanwhile, hold};
use crate::registers::{Registers, Width};
use crate::unix::{Baton, Pages};

const ROUNDS: u64 = 50;

/// What one of several does: each waits for its turn while it holds registers, which all others
/// change in the meantime. After a loss it goes on, because the others wait for it.
pub fn take_turns(
    batons: &[Baton],
    own: usize,
    set: impl Fn(usize, u64) -> Registers,
) -> Result<()> {
    let mut result = Ok(());
    for round in 0..ROUNDS {
        let set = set(own, round);
        let mut byte = 0;
        let found = hold(&set, &mut batons[own].taking(&mut byte));
        batons[(own + 1) % batons.len()].give()?;
        let held = set.expect(&found).with_context(|| format!("number {own}, round {round}"));
        result = result.and(held);
    }
    result
}

fn threads_take_turns(set: impl Fn(usize, u64) -> Registers + Sync) -> TestResult {
    let batons = (0..4).map(|_| Baton::new()).collect::<Result<Vec<_>>>()?;
    let (batons, set) = (&batons, &set);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..batons.len())
            .map(|own| scope.spawn(move || take_turns(batons, own, set)))
            .collect();
        batons[0].give()?;
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    Ok(())
}

#[test]
fn threads_that_take_turns_keep_their_registers() -> TestResult {
    threads_take_turns(|own, round| {
        Registers::pattern(Width::widest(), own as u64 * ROUNDS + round)
    })
}

#[test]
fn rounding_modes_belong_to_their_thread() -> TestResult {
    threads_take_turns(|own, _| {
        let mode = u32::try_from(own).expect("there are four threads");
        let mut set = Registers::zero(Width::Sse);
        (set.mxcsr, set.control) = (0x1f80 | mode << 13, 0x037f | mode << 10);
        set
    })
}

/// How often another was run in the place of this thread, though it did not sleep.
fn preemptions() -> Result<i64> {
    // SAFETY: numbers alone, for which zero is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the place is valid, and getrusage(2) writes to it.
    let done = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    nix::errno::Errno::result(done).context("getrusage failed")?;
    Ok(usage.ru_nivcsw)
}

#[test]
fn threads_that_are_preempted_keep_their_registers() -> TestResult {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|own| {
                scope.spawn(move || {
                    let mut seed = own << 32;
                    while preemptions()? < 5 {
                        seed += 1;
                        let set = Registers::pattern(Width::widest(), seed);
                        set.expect(&hold(&set, &mut Meanwhile::spin(2_000_000)))?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })
    .map_err(|error: anyhow::Error| error.into())
}

#[test]
fn a_thread_that_ends_takes_only_its_own_registers() -> TestResult {
    for round in 0..20 {
        let set = Registers::pattern(Width::widest(), round);
        let ended = Baton::new()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let other = Registers::pattern(Width::widest(), !round);
                other.expect(&hold(&other, &mut Meanwhile::yielding()))
            });
            let ended = &ended;
            let joiner = scope.spawn(move || {
                let result = thread.join().expect("no thread panics");
                ended.give().and(result)
            });
            let mut byte = 0;
            let found = hold(&set, &mut ended.taking(&mut byte));
            joiner.join().expect("no thread panics")?;
            set.expect(&found)
        })?;
    }
    Ok(())
}

/// Starts a thread while registers are held; returns what maker and thread found.
fn start_thread(set: &Registers) -> Result<(Registers, Registers)> {
    const FLAGS: libc::c_int = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_PARENT_SETTID
        | libc::CLONE_CHILD_CLEARTID;
    let stack = Pages::fresh(16)?;
    let number = AtomicU32::new(0);
    let place = number.as_ptr() as i64;
    let mut of_thread = Registers::zero(set.width);
    // SAFETY: the thread has a stack, and all that it uses outlives it: it is waited for.
    let mut clone = unsafe {
        let arguments = [FLAGS.into(), stack.end() as i64, place, place];
        Meanwhile::call(libc::SYS_clone, arguments).with_thread(&mut of_thread)
    };
    let of_maker = hold(set, &mut clone);
    ensure!(clone.result() > 0, "clone failed with error {}", -clone.result());
    // The kernel clears the number, and wakes whoever waits for that, when the thread has ended.
    loop {
        let seen = number.load(Ordering::Acquire);
        if seen == 0 {
            break;
        }
        let no_timeout = std::ptr::null::<libc::timespec>();
        // SAFETY: futex(2) reads the number only.
        unsafe { libc::syscall(libc::SYS_futex, place, libc::FUTEX_WAIT, seen, no_timeout) };
    }
    Ok((of_maker, of_thread))
}

#[test]
fn a_thread_starts_with_the_registers_of_its_maker() -> TestResult {
    for seed in 0..50 {
        let set = Registers::pattern(Width::widest(), seed);
        let (of_maker, of_thread) = start_thread(&set)?;
        set.expect(&of_maker)?;
        set.expect(&of_thread).context("in the thread")?;
    }
    Ok(())
}

#[test]
fn scalar_floating_point_gives_the_same_in_every_thread() {
    let sum = || (1..4_000_000_u32).map(|n| (f64::from(n)).sqrt().sin()).sum::<f64>();
    let expected = sum();
    let results: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(sum)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    assert!(results.iter().all(|result| result.to_bits() == expected.to_bits()), "{results:?}");
}
