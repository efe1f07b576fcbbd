//! Floating-point and vector registers belong to their thread, whatever interrupts it.
//!
//! Kernels of User Mode Linux that keep only the 512 bytes of FXSAVE lose the upper halves of the
//! vector registers at each page fault, and mix up the registers of threads that share an address
//! space. Upstream mended this over years: "um: Save FPU registers between task switches", "um:
//! extend fpstate to _xstate to support YMM registers", "um: Fix FP register size for XSTATE/XSAVE",
//! "um: switch to regset API and depend on XSTATE".
//!
//! Nearly every case here does the same: assembly loads all registers with a pattern, lets
//! something happen (`Meanwhile`), and stores them again.

mod allocations;
mod area;
mod hold;
mod registers;
mod unix;

mod dumps;
mod exec;
mod faults;
mod frames;
mod processes;
mod signals;
mod stress;
mod threads;
mod traced;

use uml_test::Release;

/// Whether this is a later kernel than the one that is patched here. What no later kernel does, as
/// far as is known, is asked of ours only.
fn is_after_ours() -> anyhow::Result<bool> {
    Ok(uml_test::release()? > Release { major: 3, minor: 0 })
}

/// Whether this is a later kernel than the one that is patched here, but one without what came
/// with "um: switch to regset API and depend on XSTATE" in 6.13.
fn is_before_regsets() -> anyhow::Result<bool> {
    Ok(is_after_ours()? && uml_test::release()? < Release { major: 6, minor: 13 })
}
