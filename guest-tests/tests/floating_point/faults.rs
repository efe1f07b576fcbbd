//! A page fault runs code of the kernel's in the host process that holds the registers.

use std::arch::x86_64::__m256i;

use anyhow::{Result, ensure};
use nix::libc;
use uml_test::TestResult;

use crate::hold::{Meanwhile, hold};
use crate::registers::{Registers, Width};
use crate::unix::{Child, PAGE, Pages};

/// Stores a register to each page at a fault, and looks at the registers and at what was stored.
fn store_to_each(pages: &Pages, count: usize, width: Width) -> Result<()> {
    for page in 0..count {
        let set = Registers::pattern(width, page as u64);
        // Not always at the start of a page.
        let offset = page * 64 % PAGE;
        // SAFETY: the page is this test's own, and has room for a vector there.
        let mut store = unsafe { Meanwhile::store(pages.place(page, offset)) };
        set.expect(&hold(&set, &mut store))?;
        let stored = pages.bytes(page, offset, width.bytes());
        ensure!(stored == &set.vectors[7][..width.bytes()], "page {page} got {stored:02x?}");
    }
    Ok(())
}

fn survive_faults(width: Width) -> TestResult {
    if width > Width::widest() {
        uml_test::skip(&format!("this CPU has no {width:?} registers"));
        return Ok(());
    }
    store_to_each(&Pages::fresh(500)?, 500, width)?;
    Ok(())
}

#[test]
fn sse_registers_survive_page_faults() -> TestResult {
    survive_faults(Width::Sse)
}

#[test]
fn avx_registers_survive_page_faults() -> TestResult {
    survive_faults(Width::Avx)
}

#[test]
fn avx512_registers_survive_page_faults() -> TestResult {
    survive_faults(Width::Avx512)
}

#[test]
fn registers_survive_copies_on_write_in_parent_and_child() -> TestResult {
    let width = Width::widest();
    let pages = Pages::fresh(100)?;
    store_to_each(&pages, 100, width)?;
    let child = Child::fork(|| store_to_each(&pages, 100, width))?;
    store_to_each(&pages, 100, width)?;
    child.succeed()?;
    Ok(())
}

#[test]
fn a_copy_to_a_fresh_page_is_whole() -> TestResult {
    // glibc copies with the widest registers that there are, and the first store faults.
    let from = vec![0xa5_u8; 16 * PAGE + size_of::<__m256i>()];
    for _ in 0..50 {
        let to = Pages::fresh(17)?;
        // SAFETY: both have room for as many bytes, and do not overlap.
        let copied = unsafe {
            libc::memcpy(to.place(0, 0).cast(), from.as_ptr().cast(), from.len());
            std::slice::from_raw_parts(to.place(0, 0), from.len())
        };
        assert!(copied == from, "a copy differs from what was copied");
    }
    Ok(())
}
