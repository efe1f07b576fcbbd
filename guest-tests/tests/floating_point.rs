//! Floating-point and vector registers belong to their thread, whatever interrupts it.
//!
//! Kernels of User Mode Linux that keep only the 512 bytes of FXSAVE lose the upper halves of the
//! vector registers at each page fault, and mix up the registers of threads that share an address
//! space. Upstream mended this over years: "um: Save FPU registers between task switches", "um:
//! extend fpstate to _xstate to support YMM registers", "um: Fix FP register size for XSTATE/XSAVE".

use std::arch::asm;
use std::arch::x86_64::__m256i;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use guest_tests::TestResult;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

const PAGE: usize = 4096;

/// Holds a pattern in all sixteen vector registers while `during` happens in between by way of a
/// store to `page`, and says whether all of them came through.
#[target_feature(enable = "avx2")]
fn registers_survive(pattern: u64, page: *mut u8) -> bool {
    let mut values = [[0_u64; 4]; 16];
    for (index, value) in values.iter_mut().enumerate() {
        let base = pattern.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index as u64);
        *value = [base, base ^ 0x5555, base.rotate_left(17), !base];
    }
    let mut after = [[0_u64; 4]; 16];
    // SAFETY: the arrays have room for sixteen registers each, and `page` points to a byte that
    // may be written. All registers that are used are declared as changed.
    unsafe {
        asm!(
            "vmovdqu ymm0, [{before}]", "vmovdqu ymm1, [{before} + 32]",
            "vmovdqu ymm2, [{before} + 64]", "vmovdqu ymm3, [{before} + 96]",
            "vmovdqu ymm4, [{before} + 128]", "vmovdqu ymm5, [{before} + 160]",
            "vmovdqu ymm6, [{before} + 192]", "vmovdqu ymm7, [{before} + 224]",
            "vmovdqu ymm8, [{before} + 256]", "vmovdqu ymm9, [{before} + 288]",
            "vmovdqu ymm10, [{before} + 320]", "vmovdqu ymm11, [{before} + 352]",
            "vmovdqu ymm12, [{before} + 384]", "vmovdqu ymm13, [{before} + 416]",
            "vmovdqu ymm14, [{before} + 448]", "vmovdqu ymm15, [{before} + 480]",
            // The page fault, and then time for a signal or another thread to come between.
            "mov byte ptr [{page}], 1",
            "2:", "dec {count}", "jnz 2b",
            "vmovdqu [{after}], ymm0", "vmovdqu [{after} + 32], ymm1",
            "vmovdqu [{after} + 64], ymm2", "vmovdqu [{after} + 96], ymm3",
            "vmovdqu [{after} + 128], ymm4", "vmovdqu [{after} + 160], ymm5",
            "vmovdqu [{after} + 192], ymm6", "vmovdqu [{after} + 224], ymm7",
            "vmovdqu [{after} + 256], ymm8", "vmovdqu [{after} + 288], ymm9",
            "vmovdqu [{after} + 320], ymm10", "vmovdqu [{after} + 352], ymm11",
            "vmovdqu [{after} + 384], ymm12", "vmovdqu [{after} + 416], ymm13",
            "vmovdqu [{after} + 448], ymm14", "vmovdqu [{after} + 480], ymm15",
            before = in(reg) values.as_ptr(),
            after = in(reg) after.as_mut_ptr(),
            page = in(reg) page,
            count = inout(reg) 20_000_u64 => _,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
            out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
            out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack)
        );
    }
    after == values
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);

/// A handler that uses the registers that it interrupts.
extern "C" fn clobber(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: changes vector registers only, all of which are declared.
    unsafe {
        asm!(
            "vpcmpeqd ymm0, ymm0, ymm0", "vpcmpeqd ymm1, ymm1, ymm1",
            "vpcmpeqd ymm7, ymm7, ymm7", "vpcmpeqd ymm15, ymm15, ymm15",
            out("ymm0") _, out("ymm1") _, out("ymm7") _, out("ymm15") _,
            options(nostack)
        );
    }
}

/// Fresh pages, each of which faults at its first store.
fn fresh_pages(count: usize) -> *mut u8 {
    // SAFETY: an anonymous mapping takes no address and no file.
    let pages = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            count * PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(pages, libc::MAP_FAILED, "no memory for {count} pages");
    pages.cast()
}

/// Holds patterns until `until`; returns how many were lost.
fn hold(seed: u64, until: Instant, stop: &AtomicBool) -> u64 {
    const COUNT: usize = 64;
    let mut lost = 0;
    let mut round = seed << 32;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        let pages = fresh_pages(COUNT);
        for index in 0..COUNT {
            round += 1;
            // SAFETY: the caller made sure of AVX2, and the page is one of those just mapped.
            let held = unsafe { registers_survive(round, pages.add(index * PAGE)) };
            lost += u64::from(!black_box(held));
        }
        // SAFETY: nobody holds a pointer into the pages any more.
        unsafe { libc::munmap(pages.cast(), COUNT * PAGE) };
    }
    lost
}

/// What one process does: threads that hold patterns, signals that come between, and children
/// that are forked meanwhile.
fn one_process(seed: u64, time: Duration) -> u64 {
    let until = Instant::now() + time;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn({
                    let stop = &stop;
                    move || hold(seed * 8 + thread, until, stop)
                })
            })
            .collect();
        let mut lost = 0;
        while Instant::now() < until {
            // SAFETY: the child only computes and exits.
            match unsafe { libc::fork() } {
                0 => {
                    let soon = Instant::now() + Duration::from_millis(20);
                    let lost = hold(seed * 8 + 7, soon, &AtomicBool::new(false));
                    // SAFETY: _exit(2) runs nothing of this process.
                    unsafe { libc::_exit(i32::from(lost > 0)) };
                }
                child => lost += u64::from(!child_succeeds(child)),
            }
        }
        stop.store(true, Ordering::Relaxed);
        lost + threads
            .into_iter()
            .map(|thread| thread.join().expect("no thread panics"))
            .sum::<u64>()
    })
}

fn child_succeeds(child: libc::pid_t) -> bool {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for waitpid(2) to write to.
        let done = unsafe { libc::waitpid(child, &mut status, 0) };
        if done == child {
            return status == 0;
        }
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINTR));
    }
}

fn stress(processes: u64, time: Duration) -> TestResult {
    if !std::is_x86_feature_detected!("avx2") {
        guest_tests::skip("this CPU has no AVX2");
        return Ok(());
    }
    let action = SigAction::new(SigHandler::Handler(clobber), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler changes an atomic and vector registers, nothing else.
    unsafe { sigaction(Signal::SIGALRM, &action)? };
    let children: Vec<libc::pid_t> = (0..processes)
        .map(|process| {
            // SAFETY: this process has one thread, so its child may do anything.
            match unsafe { libc::fork() } {
                0 => {
                    let every = libc::timeval { tv_sec: 0, tv_usec: 10_000 };
                    let timer = libc::itimerval { it_interval: every, it_value: every };
                    // SAFETY: the timer is read only.
                    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
                    let lost = one_process(process + 1, time);
                    let signals = SIGNALS.load(Ordering::Relaxed);
                    println!("process {process}: {signals} signals, {lost} patterns lost");
                    // SAFETY: _exit(2) runs nothing of this process.
                    unsafe { libc::_exit(i32::from(lost > 0 || signals == 0)) };
                }
                child => child,
            }
        })
        .collect();
    let failed = children.into_iter().filter(|&child| !child_succeeds(child)).count();
    assert_eq!(failed, 0, "{failed} of {processes} processes lost vector registers, or crashed");
    Ok(())
}

#[test]
fn vector_registers_survive_faults_signals_threads_and_forks() -> TestResult {
    stress(2, Duration::from_secs(2))
}

#[test]
#[ignore = "takes ten minutes"]
fn vector_registers_survive_for_ten_minutes() -> TestResult {
    stress(4, Duration::from_secs(600))
}

#[test]
fn scalar_floating_point_gives_the_same_in_every_thread() {
    let sum = || (1..200_000_u32).map(|n| (f64::from(n)).sqrt().sin()).sum::<f64>();
    let expected = sum();
    let results: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(sum)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    assert!(results.iter().all(|result| result.to_bits() == expected.to_bits()), "{results:?}");
}

#[test]
fn a_copy_to_a_fresh_page_is_whole() {
    // glibc copies with the widest registers that there are, and the first store faults.
    let from = vec![0xa5_u8; 16 * PAGE + size_of::<__m256i>()];
    for _ in 0..50 {
        let to = fresh_pages(17);
        // SAFETY: both have room for as many bytes, and do not overlap.
        let copied = unsafe {
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
            std::slice::from_raw_parts(to, from.len())
        };
        assert!(copied == from, "a copy differs from what was copied");
        // SAFETY: nobody holds a pointer into the pages any more.
        unsafe { libc::munmap(to.cast(), 17 * PAGE) };
    }
}
