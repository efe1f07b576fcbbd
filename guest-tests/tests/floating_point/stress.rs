//! Everything at once: processes of several threads, each of which does at random what registers
//! have to survive, while signals come in between.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use nix::sys::signal::SaFlags;
use uml_test::TestResult;

use crate::exec::{program, registers_after_exec};
use crate::frames::look_and_change;
use crate::hold::{Meanwhile, hold};
use crate::is_before_regsets;
use crate::processes::fork_and_look;
use crate::registers::{Random, Registers, Width};
use crate::signals::{TICKS, TICKS_LOST, may_come_at_any_time, start_ticks};
use crate::traced::look_at_and_set_xstate;
use crate::unix::{Child, PAGE, Pages};

/// What each thread knows.
struct Plan<'a> {
    /// How often each thread does something, and for how long at least. A guest that its host gives little
    /// takes longer, and does no less.
    rounds: u64,
    until: Instant,
    program: &'a Path,
    /// What it starts with.
    initial: &'a Registers,
    /// True if signals come at any time, too.
    ticks: bool,
    /// True if the kernel's ptrace(2) is known to give wrong registers.
    may_trace: bool,
}

/// One thing that registers have to survive.
fn once(random: &mut Random, plan: &Plan) -> Result<()> {
    let seed = random.next();
    let set = Registers::pattern(Width::in_frames()?, seed);
    let survive = |mut meanwhile: Meanwhile| set.expect(&hold(&set, &mut meanwhile));
    match random.below(100) {
        0..10 => survive(Meanwhile::spin(200_000 + random.below(2_000_000))).context("spin"),
        10..25 => survive(Meanwhile::yielding()).context("yield"),
        25..30 => sleep(&set).context("sleep"),
        30..50 => faults(&set).context("fault"),
        50..70 => look_and_change(seed, SaFlags::empty()).context("signal"),
        70..80 => fork_and_look(&set).context("fork"),
        80..88 => copy(random).context("copy"),
        88..94 if plan.may_trace => look_at_and_set_xstate(seed >> 32).context("ptrace"),
        _ => {
            let found = registers_after_exec(plan.program, &set).context("exec")?;
            plan.initial.expect(&found).context("exec")
        }
    }
}

fn sleep(set: &Registers) -> Result<()> {
    let pause = libc::timespec { tv_sec: 0, tv_nsec: 100_000 };
    // SAFETY: nanosleep(2) reads the time only.
    let mut sleep =
        unsafe { Meanwhile::call(libc::SYS_nanosleep, [std::ptr::from_ref(&pause) as i64, 0]) };
    set.expect(&hold(set, &mut sleep))
}

fn faults(set: &Registers) -> Result<()> {
    let pages = Pages::fresh(16)?;
    for page in 0..16 {
        // SAFETY: the page is this value's own, and has room for a vector.
        let mut store = unsafe { Meanwhile::store(pages.place(page, 0)) };
        set.expect(&hold(set, &mut store))?;
        let width = set.width.bytes();
        ensure!(pages.bytes(page, 0, width) == &set.vectors[7][..width], "another vector stored");
    }
    Ok(())
}

/// Allocations of this size are fresh pages, which the C library fills by vector registers.
fn copy(random: &mut Random) -> Result<()> {
    let length = 40 * PAGE + random.below(4096) as usize;
    let from: Vec<u8> = (0..length).map(|index| index as u8 | 1).collect();
    let to = from.clone();
    let whole = to.iter().enumerate().all(|(index, &byte)| byte == index as u8 | 1);
    ensure!(whole && from == to, "a copy differs from what was copied");
    Ok(())
}

/// This many ticks of a process are enough to come at many places.
const TICKS_ENOUGH: u64 = 10;

impl Plan<'_> {
    fn is_done(&self, rounds: u64) -> bool {
        rounds >= self.rounds
            && Instant::now() >= self.until
            && (!self.ticks || TICKS.load(Ordering::Relaxed) >= TICKS_ENOUGH)
    }
}

/// What one process does; returns how much of it.
fn one_process(seed: u64, threads: u64, plan: &Plan) -> Result<u64> {
    if plan.ticks {
        start_ticks()?;
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut random = Random::new(seed << 8 | thread);
                    let mut rounds = 0;
                    while !plan.is_done(rounds) {
                        once(&mut random, plan).with_context(|| format!("round {rounds}"))?;
                        rounds += 1;
                    }
                    Ok(rounds)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    })
}

fn stress(seed: u64, (processes, threads): (u64, u64), rounds: u64, time: Duration) -> TestResult {
    let Some(program) = program()? else { return Ok(()) };
    let initial = registers_after_exec(&program, &Registers::pattern(Width::in_frames()?, seed))?;
    let plan = Plan {
        rounds,
        until: Instant::now() + time,
        program: &program,
        ticks: may_come_at_any_time()?,
        initial: &initial,
        may_trace: !is_before_regsets()?,
    };
    let children = (0..processes)
        .map(|process| {
            Child::fork(|| {
                let rounds = one_process(seed * processes + process, threads, &plan)?;
                let ticks = TICKS.load(Ordering::Relaxed);
                let lost = TICKS_LOST.load(Ordering::Relaxed);
                println!("process {process}: {rounds} rounds, {ticks} ticks");
                ensure!(lost == 0, "{lost} handlers lost their own registers");
                Ok(())
            })
        })
        .collect::<Result<Vec<_>>>()?;
    children.into_iter().try_for_each(Child::succeed)?;
    Ok(())
}

#[test]
fn registers_survive_everything_at_once() -> TestResult {
    stress(0, (2, 3), 40, Duration::ZERO)
}

/// Cases of 40 seconds, each with a seed of its own: together they take ten minutes.
macro_rules! long {
    ($($name:ident $seed:literal,)*) => {
        $(#[test]
        #[ignore = "takes 40 seconds"]
        fn $name() -> TestResult {
            // From one process with many threads to many processes with one.
            let shape = [(1, 6), (2, 3), (3, 2), (6, 1)][$seed % 4];
            stress($seed, shape, 1, Duration::from_secs(40))
        })*
    };
}

long! {
    long_01 1, long_02 2, long_03 3, long_04 4, long_05 5,
    long_06 6, long_07 7, long_08 8, long_09 9, long_10 10,
    long_11 11, long_12 12, long_13 13, long_14 14, long_15 15,
}
