//! Registers are loaded, something happens, and the registers are stored, all in assembly, so that
//! no compiler touches them in between.

use std::arch::global_asm;
use std::mem::offset_of;

use nix::libc;

use crate::registers::{Registers, Width};

/// What happens while the registers are held: a store, then a spin, then a system call.
#[repr(C)]
pub struct Meanwhile {
    /// Where vector register 7 is stored to, or null.
    store: *mut u8,
    /// How many turns of an empty loop are taken.
    spin: u64,
    /// The number of a system call, or -1, and its arguments.
    call: [i64; 6],
    /// What the system call returned.
    result: i64,
    /// Where a thread that the system call starts stores its registers before it ends, or null.
    thread: *mut Registers,
}

const NOTHING: Meanwhile = Meanwhile {
    store: std::ptr::null_mut(),
    spin: 0,
    call: [-1, 0, 0, 0, 0, 0],
    result: 0,
    thread: std::ptr::null_mut(),
};

impl Meanwhile {
    pub fn spin(turns: u64) -> Self {
        Self { spin: turns, ..NOTHING }
    }

    /// # Safety
    /// A vector may be stored to the place, unless that faults.
    pub unsafe fn store(place: *mut u8) -> Self {
        Self { store: place, ..NOTHING }
    }

    /// # Safety
    /// The system call does no harm to this process. A thread that it starts has a stack of its
    /// own, and ends only after `found` was written to.
    pub unsafe fn call<const N: usize>(number: libc::c_long, arguments: [i64; N]) -> Self {
        let mut call = [0; 6];
        call[0] = number;
        call[1..=N].copy_from_slice(&arguments);
        Self { call, ..NOTHING }
    }

    /// The system call is a clone(2) of a thread, which stores the registers that it starts with.
    pub fn with_thread(self, found: &mut Registers) -> Self {
        Self { thread: found, ..self }
    }

    /// Sends a signal to this very thread, where it comes before the system call returns.
    pub fn raise(signal: libc::c_int) -> Self {
        // SAFETY: both calls take nothing.
        let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
        // SAFETY: a signal does what its handler does, which is the caller's own.
        unsafe { Self::call(libc::SYS_tgkill, [process, thread, signal].map(i64::from)) }
    }

    /// Gives the processor to whoever is ready.
    pub fn yielding() -> Self {
        // SAFETY: the call takes nothing and changes nothing.
        unsafe { Self::call(libc::SYS_sched_yield, []) }
    }

    /// Forks: the child, too, goes on after `hold`, with a result of 0.
    pub fn fork() -> Self {
        // SAFETY: the child shares no memory with its parent.
        unsafe { Self::call(libc::SYS_fork, []) }
    }

    /// What the system call returned: a negative error number when it failed.
    pub fn result(&self) -> i64 {
        self.result
    }
}

/// Loads the registers, lets something happen, and returns what was in them afterwards.
pub fn hold(registers: &Registers, meanwhile: &mut Meanwhile) -> Registers {
    let mut found = Registers::zero(registers.width);
    // SAFETY: both structures have the layout that the assembly expects, the CPU has registers of
    // this width, and whoever made `meanwhile` promised that it does no harm.
    unsafe {
        match registers.width {
            Width::Sse => fp_hold_sse(registers, meanwhile, &mut found),
            Width::Avx => fp_hold_avx(registers, meanwhile, &mut found),
            Width::Avx512 => fp_hold_avx512(registers, meanwhile, &mut found),
        }
    }
    found
}

unsafe extern "C" {
    fn fp_hold_sse(set: *const Registers, meanwhile: *mut Meanwhile, found: *mut Registers);
    fn fp_hold_avx(set: *const Registers, meanwhile: *mut Meanwhile, found: *mut Registers);
    fn fp_hold_avx512(set: *const Registers, meanwhile: *mut Meanwhile, found: *mut Registers);
}

// rbx: what is set, rbp: what happens meanwhile, r12: where what was found is stored.
global_asm!(
    r#"
.macro fp_begin
    push rbx
    push rbp
    push r12
    sub rsp, 16
    stmxcsr [rsp]
    fnstcw [rsp + 4]
    mov rbx, rdi
    mov rbp, rsi
    mov r12, rdx
    fninit
    fldcw word ptr [rbx + {control}]
    .irp i, 7,6,5,4,3,2,1,0
    fld tbyte ptr [rbx + {x87} + 16*\i]
    .endr
    ldmxcsr [rbx + {mxcsr}]
.endm

.macro fp_meanwhile store:vararg
    mov rdx, [rbp + {store}]
    test rdx, rdx
    jz 21f
    \store
21: mov rcx, [rbp + {spin}]
    test rcx, rcx
    jz 23f
22: dec rcx
    jnz 22b
23: mov rax, [rbp + {call}]
    test rax, rax
    js 25f
    mov rdi, [rbp + {call} + 8]
    mov rsi, [rbp + {call} + 16]
    mov rdx, [rbp + {call} + 24]
    mov r10, [rbp + {call} + 32]
    mov r8, [rbp + {call} + 40]
    syscall
    test rax, rax
    jnz 24f
    mov rcx, [rbp + {thread}]
    test rcx, rcx
    jz 24f
    mov r12, rcx
    jmp 25f
24: mov [rbp + {result}], rax
25:
.endm

.macro fp_end
    stmxcsr [r12 + {mxcsr}]
    fnstcw word ptr [r12 + {control}]
    .irp i, 0,1,2,3,4,5,6,7
    fstp tbyte ptr [r12 + {x87} + 16*\i]
    .endr
    cmp r12, [rbp + {thread}]
    jne 26f
    // The thread that was started ends here.
    mov eax, {exit}
    xor edi, edi
    syscall
26: fninit
    fldcw word ptr [rsp + 4]
    ldmxcsr [rsp]
    add rsp, 16
    pop r12
    pop rbp
    pop rbx
    ret
.endm

fp_hold_sse:
    fp_begin
    .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movdqu xmm\i, [rbx + 64*\i]
    .endr
    fp_meanwhile movdqu [rdx], xmm7
    .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movdqu [r12 + 64*\i], xmm\i
    .endr
    fp_end

fp_hold_avx:
    fp_begin
    .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    vmovdqu ymm\i, [rbx + 64*\i]
    .endr
    fp_meanwhile vmovdqu [rdx], ymm7
    .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    vmovdqu [r12 + 64*\i], ymm\i
    .endr
    vzeroupper
    fp_end

fp_hold_avx512:
    fp_begin
    .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    vmovdqu64 zmm\i, [rbx + 64*\i]
    .endr
    .irp i, 0,1,2,3,4,5,6,7
    kmovw k\i, [rbx + {masks} + 8*\i]
    .endr
    fp_meanwhile vmovdqu64 [rdx], zmm7
    .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    vmovdqu64 [r12 + 64*\i], zmm\i
    .endr
    .irp i, 0,1,2,3,4,5,6,7
    kmovw [r12 + {masks} + 8*\i], k\i
    .endr
    vzeroupper
    fp_end
"#,
    masks = const offset_of!(Registers, masks),
    x87 = const offset_of!(Registers, x87),
    mxcsr = const offset_of!(Registers, mxcsr),
    control = const offset_of!(Registers, control),
    store = const offset_of!(Meanwhile, store),
    spin = const offset_of!(Meanwhile, spin),
    call = const offset_of!(Meanwhile, call),
    result = const offset_of!(Meanwhile, result),
    thread = const offset_of!(Meanwhile, thread),
    exit = const libc::SYS_exit,
);
