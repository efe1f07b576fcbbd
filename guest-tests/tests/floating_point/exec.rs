//! A program starts with the initial state, whatever was in the registers of the one before.

use std::arch::global_asm;
use std::ffi::CString;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::libc;
use uml_test::{TestResult, case_dir};

use crate::area::Area;
use crate::hold::{Meanwhile, hold};
use crate::is_after_ours;
use crate::registers::{Registers, Width};
use crate::unix::Child;

/// How much the program writes: all that a `Width` has lies in it.
const WRITTEN: usize = 4096;

// A program of its own, which needs no place and no library: it writes the registers that it
// starts with to standard output. A Rust program would have used them before its first line runs.
global_asm!(
    r#"
.pushsection .rodata
fp_program:
    sub rsp, 16384
    and rsp, -64
    // XSAVE leaves most of the header alone, and takes it to be zero.
    lea rdi, [rsp + 512]
    xor eax, eax
    mov ecx, 64
    rep stosb
    mov eax, -1
    mov edx, -1
    xsave64 [rsp]
    mov eax, {write}
    mov edi, 1
    mov rsi, rsp
    mov edx, {written}
    syscall
    mov eax, {exit}
    xor edi, edi
    syscall
fp_program_end:
.popsection
"#,
    write = const libc::SYS_write,
    exit = const libc::SYS_exit,
    written = const WRITTEN,
);

unsafe extern "C" {
    static fp_program: u8;
    static fp_program_end: u8;
}

/// Writes the program as the smallest ELF file (elf(5)) that the kernel runs.
fn write_program(path: &Path) -> Result<()> {
    const PLACE: u64 = 0x40_0000;
    const HEADERS: u16 = 64 + 2 * 56;
    let start = &raw const fp_program;
    // SAFETY: both labels are of the same piece of read-only data.
    let code = unsafe {
        let length = (&raw const fp_program_end).offset_from_unsigned(start);
        std::slice::from_raw_parts(start, length)
    };
    let length = u64::from(HEADERS) + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, values: &[u64]| {
        values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    };
    // An executable for x86_64 of version 1, with two program headers and no sections.
    halves(&mut file, &[2, 62, 1, 0]);
    words(&mut file, &[PLACE + u64::from(HEADERS), 64, 0]);
    halves(&mut file, &[0, 0, 64, 56, 2, 0, 0, 0]);
    // The one segment: the whole file, readable and executable.
    halves(&mut file, &[1, 0, 5, 0]);
    words(&mut file, &[0, PLACE, PLACE, length, length, 4096]);
    // A stack that is not executable, of which the kernel would complain.
    halves(&mut file, &[0xe551, 0x6474, 6, 0]);
    words(&mut file, &[0, 0, 0, 0, 0, 16]);
    file.extend_from_slice(code);
    std::fs::write(path, file).with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755))?;
    Ok(())
}

/// Runs the program by execve(2) with these registers held; returns what it starts with.
pub fn registers_after_exec(program: &Path, held: &Registers) -> Result<Registers> {
    let path = CString::new(program.as_os_str().as_bytes())?;
    let arguments = [path.as_ptr(), std::ptr::null()];
    let (mut reader, writer) = std::io::pipe().context("no pipe")?;
    let child = Child::fork(|| {
        // SAFETY: the descriptor is this process's own, and nobody relies on the one replaced.
        unsafe { libc::dup2(writer.as_raw_fd(), 1) };
        let place = arguments.as_ptr() as i64;
        // SAFETY: path and arguments end with zero, and no environment is a valid one.
        let mut exec =
            unsafe { Meanwhile::call(libc::SYS_execve, [path.as_ptr() as i64, place, place + 8]) };
        hold(held, &mut exec);
        bail!("exec failed with error {}", -exec.result());
    })?;
    drop(writer);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).context("cannot read from a pipe")?;
    child.succeed()?;
    anyhow::ensure!(bytes.len() == WRITTEN, "the program wrote {} bytes", bytes.len());
    Ok(Area::new(&mut bytes, held.width).registers())
}

/// Writes the program into the case's folder; nothing when the CPU cannot run it.
pub fn program() -> Result<Option<PathBuf>> {
    if !std::arch::is_x86_feature_detected!("xsave") {
        uml_test::skip("this CPU has no XSAVE");
        return Ok(None);
    }
    let path = case_dir().join("program");
    write_program(&path)?;
    Ok(Some(path))
}

#[test]
fn a_program_starts_with_nothing_of_the_one_before() -> TestResult {
    let Some(program) = program()? else { return Ok(()) };
    let first = registers_after_exec(&program, &Registers::pattern(Width::widest(), 0))?;
    assert_eq!((first.mxcsr, first.control), (0x1f80, 0x037f), "not the default control words");
    for seed in 1..20 {
        let held = Registers::pattern(Width::widest(), seed);
        first.expect(&registers_after_exec(&program, &held)?)?;
    }
    Ok(())
}

#[test]
fn a_program_starts_with_the_initial_state() -> TestResult {
    let Some(program) = program()? else { return Ok(()) };
    let held = Registers::pattern(Width::widest(), 0);
    let found = registers_after_exec(&program, &held)?;
    let result = Registers::initial(held.width).expect(&found);
    if result.is_err() && is_after_ours()? {
        uml_test::skip("this kernel's programs start with some registers of the kernel's own");
        return Ok(());
    }
    Ok(result?)
}
