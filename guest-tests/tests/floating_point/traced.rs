//! A debugger sees and changes the registers of the process that it traces, not its own.

use std::ffi::c_void;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use uml_test::TestResult;

use crate::area::Area;
use crate::hold::{Meanwhile, hold};
use crate::is_before_regsets;
use crate::registers::{Registers, Width};
use crate::signals::clobber;
use crate::unix::{Baton, Child, wait_until_asleep};

/// From <linux/ptrace.h> and <linux/elf.h>.
const PTRACE_GETREGSET: libc::c_uint = 0x4204;
const PTRACE_SETREGSET: libc::c_uint = 0x4205;
const NT_X86_XSTATE: usize = 0x202;
/// More than the state of any CPU today.
const ROOM: usize = 16384;

/// A process that is stopped with known registers, and says how it found them when it went on.
struct Traced(Child);

impl Traced {
    /// A child that stops itself while it holds `set`, and expects to find `expected`.
    fn stopped(set: &Registers, expected: &Registers) -> Result<Self> {
        let child = Child::fork(|| {
            // SAFETY: the parent waits for this process, and traces it.
            Errno::result(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) })?;
            expected.expect(&hold(set, &mut Meanwhile::raise(libc::SIGSTOP)))
        })?;
        let traced = Self(child);
        traced.wait_for_stop()?;
        // The tracer has registers of its own, which must not be what it sees.
        clobber(0)?;
        Ok(traced)
    }

    fn wait_for_stop(&self) -> Result<()> {
        let status = self.0.wait()?;
        ensure!(
            libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGSTOP,
            "not stopped, but {status:#x}"
        );
        Ok(())
    }

    fn request(&self, request: libc::c_uint, address: usize, data: *mut c_void) -> nix::Result<()> {
        // SAFETY: `data` has room for what the requests of this file write, and is not kept.
        Errno::result(unsafe { libc::ptrace(request, self.0.pid(), address, data) }).map(drop)
    }

    /// The 512 bytes of FXSAVE.
    fn fpregs(&self, request: libc::c_uint, bytes: &mut [u8; 512]) -> Result<()> {
        self.request(request, 0, bytes.as_mut_ptr().cast()).with_context(|| format!("{request:#x}"))
    }

    /// All that XSAVE writes; returns how much it is.
    fn xstate(&self, request: libc::c_uint, bytes: &mut [u8]) -> nix::Result<usize> {
        let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        self.request(request, NT_X86_XSTATE, (&raw mut piece).cast())?;
        Ok(piece.iov_len)
    }

    fn go_on(self) -> Result<()> {
        self.request(libc::PTRACE_CONT, 0, std::ptr::null_mut()).context("cannot continue")?;
        self.0.succeed()
    }

    fn expect_fpregs(&self, set: &Registers) -> Result<()> {
        let mut bytes = [0; 512];
        self.fpregs(libc::PTRACE_GETFPREGS, &mut bytes)?;
        narrow(set).expect(&Area::new(&mut bytes, Width::Sse).registers())
    }
}

/// The part that FXSAVE has room for.
fn narrow(registers: &Registers) -> Registers {
    let mut narrow = Registers { width: Width::Sse, masks: [0; 8], ..registers.clone() };
    for vector in &mut narrow.vectors {
        vector[16..].fill(0);
    }
    narrow.vectors[16..].fill([0; 64]);
    narrow
}

/// `registers` with the part of `other` that FXSAVE has room for.
fn with_narrow(registers: &Registers, other: &Registers) -> Registers {
    let mut both = Registers { x87: other.x87, ..registers.clone() };
    (both.mxcsr, both.control) = (other.mxcsr, other.control);
    for (both, other) in both.vectors.iter_mut().zip(&other.vectors).take(16) {
        both[..16].copy_from_slice(&other[..16]);
    }
    both
}

fn patterns(seed: u64) -> (Registers, Registers) {
    (Registers::pattern(Width::widest(), seed), Registers::pattern(Width::widest(), seed + 1000))
}

/// Passes, or says that this kernel is one of those that are known to confuse processes.
fn or_skip(result: Result<()>) -> TestResult {
    if result.is_err() && is_before_regsets()? {
        uml_test::skip(OTHERS);
        return Ok(());
    }
    Ok(result?)
}

const OTHERS: &str = "this kernel's PTRACE_GETFPREGS and PTRACE_SETFPREGS are about the registers \
                      of the process that ran last";
#[test]
fn fpregs_are_those_of_the_child() -> TestResult {
    let look = |seed| {
        let (set, _) = patterns(seed);
        let traced = Traced::stopped(&set, &set)?;
        traced.expect_fpregs(&set)?;
        traced.go_on()
    };
    or_skip((0..20).try_for_each(look))
}

#[test]
fn fpregs_that_are_set_take() -> TestResult {
    or_skip((0..20).try_for_each(set_fpregs))
}

fn set_fpregs(seed: u64) -> Result<()> {
    let (set, other) = patterns(seed);
    let traced = Traced::stopped(&set, &with_narrow(&set, &other))?;
    let mut bytes = [0; 512];
    traced.fpregs(libc::PTRACE_GETFPREGS, &mut bytes)?;
    Area::new(&mut bytes, Width::Sse).set(&narrow(&other));
    traced.fpregs(libc::PTRACE_SETFPREGS, &mut bytes)?;
    traced.go_on()
}

#[test]
fn two_children_are_told_apart() -> TestResult {
    let look = || {
        let (one, other) = patterns(1);
        let (first, second) = (Traced::stopped(&one, &one)?, Traced::stopped(&other, &other)?);
        first.expect_fpregs(&one)?;
        second.expect_fpregs(&other)?;
        first.expect_fpregs(&one)?;
        first.go_on()?;
        second.expect_fpregs(&other)?;
        second.go_on()
    };
    or_skip(look())
}

#[test]
fn a_sleeper_that_is_attached_to_shows_its_registers_and_keeps_them() -> TestResult {
    or_skip((0..10).try_for_each(attach))
}

fn attach(seed: u64) -> Result<()> {
    let (set, _) = patterns(seed);
    let baton = Baton::new()?;
    let child = Child::fork(|| {
        let mut byte = 0;
        set.expect(&hold(&set, &mut baton.taking(&mut byte)))
    })?;
    // The child sleeps nowhere else than where it holds its registers.
    wait_until_asleep(child.pid())?;
    let traced = Traced(child);
    traced.request(libc::PTRACE_ATTACH, 0, std::ptr::null_mut()).context("cannot attach")?;
    traced.wait_for_stop()?;
    clobber(seed)?;
    traced.expect_fpregs(&set)?;
    traced.request(libc::PTRACE_DETACH, 0, std::ptr::null_mut()).context("cannot detach")?;
    baton.give()?;
    traced.0.succeed()
}

#[test]
fn the_whole_state_is_that_of_the_child_and_can_be_set() -> TestResult {
    let result = (0..20).try_for_each(look_at_and_set_xstate);
    let refused = |error: &anyhow::Error| error.downcast_ref() == Some(&Errno::EIO);
    if result.as_ref().is_err_and(refused) && is_before_regsets()? {
        uml_test::skip("this kernel's ptrace(2) has no NT_X86_XSTATE");
        return Ok(());
    }
    Ok(result?)
}

/// Gets the whole state of a child, then sets another, which the child is to find.
pub fn look_at_and_set_xstate(seed: u64) -> Result<()> {
    let (set, other) = patterns(seed);
    let traced = Traced::stopped(&set, &other)?;
    let mut bytes = vec![0; ROOM];
    let size = match traced.xstate(PTRACE_GETREGSET, &mut bytes) {
        Err(Errno::ENODEV) if set.width == Width::Sse => {
            // Nothing is lost: this CPU or its kernel has FXSAVE only.
            return set_fpregs(seed);
        }
        got => got.context("PTRACE_GETREGSET of NT_X86_XSTATE")?,
    };
    let bytes = &mut bytes[..size];
    if size < Area::size(set.width) {
        bail!("{size} bytes are too few for {:?} registers", set.width);
    }
    set.expect(&Area::new(bytes, set.width).registers())?;
    Area::new(bytes, set.width).set(&other);
    let written = traced.xstate(PTRACE_SETREGSET, bytes).context("PTRACE_SETREGSET")?;
    ensure!(written == size, "{written} bytes of {size} were taken");
    traced.go_on()
}
