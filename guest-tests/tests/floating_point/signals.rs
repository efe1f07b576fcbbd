//! Signal handlers use registers, and the code that they interrupt must not notice.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use uml_test::TestResult;

use crate::allocations;
use crate::hold::{Meanwhile, hold};
use crate::registers::{Registers, Width};
use crate::unix::{PAGE, Pages};

/// What a handler does with the context that it gets.
type Handler<'a> = dyn FnMut(*mut libc::c_void) -> Result<()> + 'a;

thread_local! {
    /// What the next signal of this thread calls, and how that went.
    static NEXT: Cell<Option<*mut Handler<'static>>> = const { Cell::new(None) };
    static RESULT: Cell<Option<Result<()>>> = const { Cell::new(None) };
}

extern "C" fn dispatch(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if let Some(handler) = NEXT.take() {
        // SAFETY: `handled` keeps the handler for as long as this signal may come.
        RESULT.set(Some(unsafe { (*handler)(context) }));
    }
}

/// Holds registers while something raises a signal of this thread, and `handler` handles it.
///
/// The signal comes at a known instruction of assembly, so that the handler may do anything.
pub fn handled(
    signal: Signal,
    flags: SaFlags,
    set: &Registers,
    meanwhile: &mut Meanwhile,
    handler: &mut Handler<'_>,
) -> Result<Registers> {
    let action = SigAction::new(
        SigHandler::SigAction(dispatch),
        flags | SaFlags::SA_SIGINFO,
        SigSet::empty(),
    );
    // SAFETY: the handler runs nothing but what is set below.
    unsafe { sigaction(signal, &action) }.context("sigaction failed")?;
    let handler: *mut Handler<'_> = handler;
    // SAFETY: only the lifetime differs; the pointer is taken away again before this returns.
    NEXT.set(Some(unsafe {
        std::mem::transmute::<*mut Handler<'_>, *mut Handler<'static>>(handler)
    }));
    let found = hold(set, meanwhile);
    ensure!(NEXT.take().is_none(), "the signal did not come");
    RESULT.take().context("the handler did not return")??;
    Ok(found)
}

/// What handlers do here: all registers are used for something else.
pub fn clobber(seed: u64) -> Result<()> {
    let other = Registers::pattern(Width::in_frames()?, !seed);
    other.expect(&hold(&other, &mut Meanwhile::spin(10)))
}

fn raise_and_clobber(signal: Signal, flags: SaFlags, seed: u64) -> Result<()> {
    let set = Registers::pattern(Width::in_frames()?, seed);
    let mut raise = Meanwhile::raise(signal as libc::c_int);
    set.expect(&handled(signal, flags, &set, &mut raise, &mut |_| clobber(seed))?)
}

#[test]
fn a_handler_leaves_avx512_registers_alone() -> TestResult {
    if Width::widest() < Width::Avx512 {
        uml_test::skip("this CPU has no Avx512 registers");
        return Ok(());
    }
    for seed in 0..100 {
        let set = Registers::pattern(Width::Avx512, seed);
        let other = Registers::pattern(Width::Avx512, !seed);
        let mut raise = Meanwhile::raise(libc::SIGUSR1);
        let mut clobber = |_| other.expect(&hold(&other, &mut Meanwhile::spin(10)));
        let found = handled(Signal::SIGUSR1, SaFlags::empty(), &set, &mut raise, &mut clobber)?;
        let result = set.expect(&found);
        if result.is_err() && !may_come_at_any_time()? {
            uml_test::skip(NO_ROOM);
            return Ok(());
        }
        result?;
    }
    Ok(())
}

#[test]
fn a_handler_leaves_the_interrupted_registers_alone() -> TestResult {
    (0..100).try_for_each(|seed| raise_and_clobber(Signal::SIGUSR1, SaFlags::empty(), seed))?;
    Ok(())
}

/// Lets handlers with SA_ONSTACK run on these pages; the last one lies behind the stack.
pub fn alternate_stack(pages: &Pages, count: usize) -> Result<()> {
    let stack =
        libc::stack_t { ss_sp: pages.place(0, 0).cast(), ss_flags: 0, ss_size: (count - 1) * PAGE };
    // SAFETY: the pages outlive every signal that is raised.
    let done = unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) };
    nix::errno::Errno::result(done).context("sigaltstack failed")?;
    Ok(())
}

#[test]
fn a_handler_on_a_stack_of_its_own_leaves_the_interrupted_registers_alone() -> TestResult {
    let pages = Pages::fresh(32)?;
    alternate_stack(&pages, 32)?;
    for seed in 0..100 {
        let set = Registers::pattern(Width::in_frames()?, seed);
        let mut raise = Meanwhile::raise(libc::SIGUSR1);
        let mut handler = |context: *mut libc::c_void| {
            let own = pages.place(0, 0).addr()..pages.end().addr();
            ensure!(own.contains(&context.addr()), "the frame is not on the alternate stack");
            clobber(seed)
        };
        let found = handled(Signal::SIGUSR1, SaFlags::SA_ONSTACK, &set, &mut raise, &mut handler)?;
        set.expect(&found)?;
    }
    Ok(())
}

#[test]
fn handlers_may_be_interrupted_by_handlers() -> TestResult {
    for seed in 0..50 {
        let set = Registers::pattern(Width::in_frames()?, seed);
        let mut raise = Meanwhile::raise(libc::SIGUSR1);
        let mut handler = |_| raise_and_clobber(Signal::SIGUSR2, SaFlags::empty(), !seed);
        let found = handled(Signal::SIGUSR1, SaFlags::empty(), &set, &mut raise, &mut handler)?;
        set.expect(&found)?;
    }
    Ok(())
}

#[test]
fn a_handler_of_a_fault_leaves_the_interrupted_registers_alone() -> TestResult {
    for seed in 0..100 {
        let page = Pages::fresh(1)?;
        page.protect(libc::PROT_NONE)?;
        let set = Registers::pattern(Width::in_frames()?, seed);
        // SAFETY: the store faults until the handler allows it.
        let mut store = unsafe { Meanwhile::store(page.place(0, 0)) };
        let mut handler = |_| {
            clobber(seed)?;
            page.protect(libc::PROT_READ | libc::PROT_WRITE)
        };
        let found = handled(Signal::SIGSEGV, SaFlags::empty(), &set, &mut store, &mut handler)?;
        set.expect(&found)?;
        let width = set.width.bytes();
        assert_eq!(page.bytes(0, 0, width), &set.vectors[7][..width]);
    }
    Ok(())
}

/// The number of times the timer fired, and how many of its handlers lost their own registers.
pub static TICKS: AtomicU64 = AtomicU64::new(0);
pub static TICKS_LOST: AtomicU64 = AtomicU64::new(0);

extern "C" fn tick(_: libc::c_int) {
    let count = TICKS.fetch_add(1, Ordering::Relaxed);
    if clobber(count).is_err() {
        TICKS_LOST.fetch_add(1, Ordering::Relaxed);
    }
}

const NO_ROOM: &str = "this kernel's signal frames have no room for AVX-512 registers";

/// Whether a signal may interrupt any code. Where frames have no room for the widest registers it
/// may not: the C library copies and compares with them.
pub fn may_come_at_any_time() -> Result<bool> {
    Ok(Width::in_frames()? == Width::widest())
}

/// From now on a signal interrupts some thread of this process, wherever it is, every 10 ms.
pub fn start_ticks() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(tick), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler changes registers and atomics, and allocates only when it fails, as a test
    // below shows.
    unsafe { sigaction(Signal::SIGALRM, &action) }.context("sigaction failed")?;
    let every = libc::timeval { tv_sec: 0, tv_usec: 10_000 };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: the timer is read only.
    let done = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    nix::errno::Errno::result(done).context("setitimer failed")?;
    Ok(())
}

#[test]
fn what_may_come_at_any_time_allocates_nothing() {
    let before = allocations::so_far();
    tick(libc::SIGALRM);
    assert_eq!(allocations::so_far(), before);
    assert_eq!(TICKS_LOST.load(Ordering::Relaxed), 0);
}

#[test]
fn registers_survive_signals_that_come_at_any_time() -> TestResult {
    if !may_come_at_any_time()? {
        uml_test::skip(NO_ROOM);
        return Ok(());
    }
    start_ticks()?;
    let mut seed = 0;
    while TICKS.load(Ordering::Relaxed) < 20 {
        seed += 1;
        let set = Registers::pattern(Width::in_frames()?, seed);
        set.expect(&hold(&set, &mut Meanwhile::spin(500_000)))?;
    }
    assert_eq!(TICKS_LOST.load(Ordering::Relaxed), 0, "handlers lost their own registers");
    Ok(())
}
