//! A core dump has the registers of every thread of the process that died.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::libc;
use uml_test::{TestResult, case_dir};

use crate::area::Area;
use crate::hold::{Meanwhile, hold};
use crate::is_before_regsets;
use crate::registers::{Registers, Width};
use crate::unix::{Baton, Child, wait_until_asleep};

/// Notes of a core file, from <linux/elf.h>; each thread has one of each, in this order.
const NT_PRSTATUS: u32 = 1;
const NT_PRFPREG: u32 = 2;
/// Where a `struct elf_prstatus` has the number of its thread.
const PR_PID: usize = 32;

fn number<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N]> {
    let piece = bytes.get(offset..offset + N).context("the core file ends early")?;
    Ok(piece.try_into()?)
}

fn u32_at(bytes: &[u8], offset: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(number(bytes, offset)?))
}

fn usize_at(bytes: &[u8], offset: usize) -> Result<usize> {
    Ok(usize::from_le_bytes(number(bytes, offset)?))
}

/// The notes of a core file, as elf(5) describes them: kind and contents.
fn notes(core: &[u8]) -> Result<Vec<(u32, &[u8])>> {
    const PT_NOTE: u32 = 4;
    let headers = usize_at(core, 32)?;
    let count = usize::from(u16::from_le_bytes(number(core, 56)?));
    let mut notes = Vec::new();
    for header in (0..count).map(|index| headers + 56 * index) {
        if u32_at(core, header)? != PT_NOTE {
            continue;
        }
        let (mut at, size) = (usize_at(core, header + 8)?, usize_at(core, header + 32)?);
        let end = at + size;
        while at < end {
            let name = (u32_at(core, at)? as usize).next_multiple_of(4);
            let length = u32_at(core, at + 4)? as usize;
            let contents = at + 12 + name;
            let bytes = core.get(contents..contents + length).context("a note is cut off")?;
            notes.push((u32_at(core, at + 8)?, bytes));
            at = contents + length.next_multiple_of(4);
        }
    }
    Ok(notes)
}

/// The floating-point registers of each thread in a core file.
fn threads(core: &[u8]) -> Result<BTreeMap<u32, Registers>> {
    let (mut threads, mut thread) = (BTreeMap::new(), 0);
    for (kind, bytes) in notes(core)? {
        if kind == NT_PRSTATUS {
            thread = u32_at(bytes, PR_PID)?;
        } else if kind == NT_PRFPREG {
            let mut bytes = bytes.to_vec();
            threads.insert(thread, Area::new(&mut bytes, Width::Sse).registers());
        }
    }
    Ok(threads)
}

/// Dies of a signal with `own` in the registers, while another thread sleeps with `others`.
fn die(own: &Registers, others: &Registers) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit is read only.
    ensure!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) } == 0, "no limit for core files");
    let (never, thread) = (Baton::new()?, AtomicI32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = 0;
            let mut wait = never.taking(&mut byte);
            // SAFETY: the call takes nothing.
            thread.store(unsafe { libc::gettid() }, Ordering::SeqCst);
            // From here on this thread sleeps nowhere else.
            hold(others, &mut wait)
        });
        while thread.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        wait_until_asleep(thread.load(Ordering::SeqCst))?;
        hold(own, &mut Meanwhile::raise(libc::SIGABRT));
        bail!("SIGABRT ends nobody")
    })
}

#[test]
fn a_core_dump_has_the_registers_of_each_thread() -> TestResult {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    assert_eq!(pattern.trim(), "core", "core files go elsewhere");
    std::env::set_current_dir(case_dir())?;
    let own = Registers::pattern(Width::Sse, 1);
    let others = Registers::pattern(Width::Sse, 2);
    let child = Child::fork(|| die(&own, &others))?;
    let status = child.wait()?;
    assert!(libc::WIFSIGNALED(status) && libc::WCOREDUMP(status), "no core dump: {status:#x}");
    let dumped = fs::read_dir(".")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().starts_with("./core"))
        .context("no core file")?;
    let mut threads = threads(&fs::read(dumped)?)?;
    let mut look = || {
        let of_main = threads.remove(&child.pid().cast_unsigned()).context("no main thread")?;
        own.expect(&of_main).context("the thread that died")?;
        let (_, of_other) = threads.pop_first().context("no other thread")?;
        others.expect(&of_other).context("the thread that slept")
    };
    let result: Result<()> = look();
    if result.is_err() && is_before_regsets()? {
        uml_test::skip("this kernel's core dumps have one thread's registers for all");
        return Ok(());
    }
    Ok(result?)
}
