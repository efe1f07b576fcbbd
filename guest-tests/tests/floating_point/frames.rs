//! What a signal handler, an unwinder or a debugger finds in a signal's frame.

use std::arch::global_asm;

use anyhow::{Context as _, Result};
use nix::libc;
use nix::sys::signal::{SaFlags, Signal};
use uml_test::TestResult;

use crate::area::Area;
use crate::hold::{Meanwhile, hold};
use crate::is_after_ours;
use crate::registers::{Registers, Width};
use crate::signals::{alternate_stack, clobber, handled};
use crate::unix::Pages;

/// From <asm/ucontext.h>: the state of this frame is what XSAVE writes.
const UC_FP_XSTATE: libc::c_ulong = 1;

/// Looks at the registers in a frame, changes them there, and sees the changes take.
pub fn look_and_change(seed: u64, flags: SaFlags) -> Result<()> {
    let set = Registers::pattern(Width::in_frames()?, seed);
    let changed = Registers::pattern(Width::in_frames()?, !seed);
    let mut handler = |context: *mut libc::c_void| {
        // SAFETY: this is a handler, and what it interrupted is called by more than one function.
        let mut area = unsafe { Area::of_frame(context, set.width) };
        set.expect(&area.registers()).context("in the frame")?;
        area.set(&changed);
        clobber(seed)
    };
    let mut raise = Meanwhile::raise(libc::SIGUSR1);
    let found = handled(Signal::SIGUSR1, flags, &set, &mut raise, &mut handler)?;
    changed.expect(&found).context("after the frame was changed")
}

#[test]
fn a_frame_has_the_interrupted_registers_and_changes_take() -> TestResult {
    (0..50).try_for_each(|seed| look_and_change(seed, SaFlags::empty()))?;
    Ok(())
}

#[test]
fn so_does_a_frame_on_an_alternate_stack() -> TestResult {
    let pages = Pages::fresh(32)?;
    alternate_stack(&pages, 32)?;
    (0..50).try_for_each(|seed| look_and_change(seed, SaFlags::SA_ONSTACK))?;
    Ok(())
}

#[test]
fn a_handler_may_put_another_state_in_place_of_the_frames() -> TestResult {
    #[repr(C, align(64))]
    struct Elsewhere([u8; 16384]);
    let mut elsewhere = Box::new(Elsewhere([0; 16384]));
    for seed in 0..50 {
        let set = Registers::pattern(Width::in_frames()?, seed);
        let changed = Registers::pattern(Width::in_frames()?, !seed);
        let mut handler = |context: *mut libc::c_void| {
            // SAFETY: this is a handler, and what it interrupted is called by more than one
            // function; as many bytes are there as the kernel says.
            unsafe {
                let announced = Area::of_frame(context, set.width).announced();
                let size = announced.unwrap_or_else(|| Area::size(set.width));
                let frame = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.fpregs;
                let from = std::slice::from_raw_parts(frame.cast::<u8>(), size);
                elsewhere.0[..size].copy_from_slice(from);
                *frame = elsewhere.0.as_mut_ptr().cast();
            }
            Area::new(&mut elsewhere.0, set.width).set(&changed);
            Ok(())
        };
        let mut raise = Meanwhile::raise(libc::SIGUSR1);
        let found = handled(Signal::SIGUSR1, SaFlags::empty(), &set, &mut raise, &mut handler)?;
        changed.expect(&found)?;
    }
    Ok(())
}

#[test]
fn a_frame_says_how_much_it_carries() -> TestResult {
    let width = Width::in_frames()?;
    if width == Width::Sse {
        uml_test::skip("this CPU has nothing that FXSAVE does not save");
        return Ok(());
    }
    let set = Registers::pattern(width, 1);
    let mut announced = false;
    let mut handler = |context: *mut libc::c_void| {
        // SAFETY: this is a handler, and what it interrupted is called by more than one function.
        let size = unsafe { Area::of_frame(context, width).announced() };
        // SAFETY: this is a handler's context.
        let context = unsafe { &*context.cast::<libc::ucontext_t>() };
        let aligned = context.uc_mcontext.fpregs.addr().is_multiple_of(64);
        announced = size.is_some() && aligned && context.uc_flags & UC_FP_XSTATE != 0;
        Ok(())
    };
    let mut raise = Meanwhile::raise(libc::SIGUSR1);
    handled(Signal::SIGUSR1, SaFlags::empty(), &set, &mut raise, &mut handler)?;
    if !announced && is_after_ours()? {
        uml_test::skip(
            "this kernel's signal frames carry more than they say (FP_XSTATE_MAGIC1, UC_FP_XSTATE)",
        );
        return Ok(());
    }
    assert!(announced, "the frame does not say that it carries more than FXSAVE");
    Ok(())
}

// A handler that does nothing but keep the registers that it starts with.
global_asm!(
    r#"
fp_keep:
    mov eax, -1
    mov edx, -1
    xsave64 [rip + fp_kept]
    ret
.pushsection .bss
.balign 64
fp_kept:
    .zero 16384
.popsection
"#
);

unsafe extern "C" {
    fn fp_keep(signal: libc::c_int);
    static mut fp_kept: [u8; 16384];
}

#[test]
fn a_handler_starts_with_the_initial_state() -> TestResult {
    if !std::arch::is_x86_feature_detected!("xsave") {
        uml_test::skip("this CPU has no XSAVE");
        return Ok(());
    }
    // SAFETY: a structure of zeroes is valid: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = fp_keep as *const () as usize;
    // SAFETY: the handler changes nothing but registers and what is its own.
    let done = unsafe { libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()) };
    assert_eq!(done, 0, "sigaction failed");
    let set = Registers::pattern(Width::widest(), 1);
    set.expect(&hold(&set, &mut Meanwhile::raise(libc::SIGUSR2)))?;
    // SAFETY: the one signal was handled, so that nobody else uses what it kept.
    let kept = unsafe { (&raw mut fp_kept).as_mut() }.expect("a static is somewhere");
    let result = Registers::initial(set.width).expect(&Area::new(kept, set.width).registers());
    if result.is_err() && is_after_ours()? {
        uml_test::skip("this kernel's signal handlers start with the interrupted registers");
        return Ok(());
    }
    Ok(result?)
}
