//! The area that the CPU's XSAVE writes, that signal frames carry, and that ptrace(2) gives.

use std::arch::x86_64::__cpuid_count;

use nix::libc;

use crate::registers::{Registers, Width};

/// Offsets in the first 512 bytes, which are what FXSAVE writes (Intel's manual, volume 1, table
/// 10-2), and of the header behind them.
const CONTROL: usize = 0;
const MXCSR: usize = 24;
const X87: usize = 32;
const XMM: usize = 160;
/// Where the kernel says in a signal frame what lies behind (`struct _fpx_sw_bytes`).
const SOFTWARE: usize = 464;
const LEGACY: usize = 512;
const PRESENT: usize = 512;
const HEADER_END: usize = 576;

/// Numbers of the parts that have a place of their own.
const YMM_HIGH: u32 = 2;
const MASKS: u32 = 5;
const ZMM_HIGH: u32 = 6;
const ZMM_16_TO_31: u32 = 7;

const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;

/// Where the CPU puts a part: (size, offset). Only the CPU knows.
fn part(number: u32) -> (usize, usize) {
    let leaf = __cpuid_count(0xd, number);
    (leaf.eax as usize, leaf.ebx as usize)
}

/// An area of which all parts that a width needs are there.
pub struct Area<'a> {
    bytes: &'a mut [u8],
    width: Width,
}

impl<'a> Area<'a> {
    /// # Panics
    /// When the bytes are fewer than the width needs.
    pub fn new(bytes: &'a mut [u8], width: Width) -> Self {
        assert!(bytes.len() >= Self::size(width), "{} bytes for {width:?}", bytes.len());
        Self { bytes, width }
    }

    /// The area in the frame of the signal whose handler got this context.
    ///
    /// # Safety
    /// `context` is the third argument of a handler of a signal that interrupted code whose stack
    /// goes on for another page.
    pub unsafe fn of_frame(context: *mut libc::c_void, width: Width) -> Self {
        // SAFETY: the caller says that it is a context.
        let context = unsafe { &*context.cast::<libc::ucontext_t>() };
        let start = context.uc_mcontext.fpregs.cast::<u8>();
        assert!(!start.is_null(), "the frame carries no floating-point state");
        // SAFETY: a kernel that wrote fewer bytes wrote them to the interrupted stack, too, so
        // that all can be read.
        Self::new(unsafe { std::slice::from_raw_parts_mut(start, Self::size(width)) }, width)
    }

    /// How many bytes hold all that a width has.
    pub fn size(width: Width) -> usize {
        let end = |number| part(number).0 + part(number).1;
        match width {
            Width::Sse => LEGACY,
            Width::Avx => end(YMM_HIGH),
            Width::Avx512 => {
                [YMM_HIGH, MASKS, ZMM_HIGH, ZMM_16_TO_31].map(end).into_iter().max().unwrap_or(0)
            }
        }
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|index| self.bytes[offset + index]))
    }

    pub fn registers(&mut self) -> Registers {
        let mut registers = Registers::zero(self.width);
        registers.control = self.u32(CONTROL) & 0xffff;
        registers.mxcsr = self.u32(MXCSR);
        for (index, x87) in registers.x87.iter_mut().enumerate() {
            x87[..10].copy_from_slice(&self.bytes[X87 + 16 * index..][..10]);
        }
        if self.width == Width::Avx512 {
            for (index, mask) in registers.masks.iter_mut().enumerate() {
                let bytes = &self.bytes[part(MASKS).1 + 8 * index..];
                *mask = u64::from_le_bytes(std::array::from_fn(|index| bytes[index]));
            }
        }
        self.each_piece(|index, range, bytes| {
            registers.vectors[index][range].copy_from_slice(bytes)
        });
        registers
    }

    /// Puts all registers there, and says of each part that it is present.
    pub fn set(&mut self, registers: &Registers) {
        self.bytes[CONTROL..][..2].copy_from_slice(&registers.control.to_le_bytes()[..2]);
        self.bytes[MXCSR..][..4].copy_from_slice(&registers.mxcsr.to_le_bytes());
        for (index, x87) in registers.x87.iter().enumerate() {
            self.bytes[X87 + 16 * index..][..10].copy_from_slice(&x87[..10]);
        }
        if self.width == Width::Avx512 {
            for (index, mask) in registers.masks.iter().enumerate() {
                let at = part(MASKS).1 + 8 * index;
                self.bytes[at..][..8].copy_from_slice(&mask.to_le_bytes());
            }
        }
        self.each_piece(|index, range, bytes| {
            bytes.copy_from_slice(&registers.vectors[index][range])
        });
        match self.width {
            Width::Sse => {}
            Width::Avx => self.bytes[PRESENT] |= 0b111,
            Width::Avx512 => self.bytes[PRESENT] |= 0b1110_0111,
        }
    }

    /// Calls with the number of a register, which of its bytes it is, and where they lie.
    fn each_piece(&mut self, mut piece: impl FnMut(usize, std::ops::Range<usize>, &mut [u8])) {
        for index in 0..16 {
            piece(index, 0..16, &mut self.bytes[XMM + 16 * index..][..16]);
            if self.width >= Width::Avx {
                piece(index, 16..32, &mut self.bytes[part(YMM_HIGH).1 + 16 * index..][..16]);
            }
            if self.width == Width::Avx512 {
                piece(index, 32..64, &mut self.bytes[part(ZMM_HIGH).1 + 32 * index..][..32]);
                let whole = part(ZMM_16_TO_31).1 + 64 * index;
                piece(16 + index, 0..64, &mut self.bytes[whole..][..64]);
            }
        }
    }

    /// The number of bytes the kernel says that it wrote, when it says so as x86_64 does: a magic number
    /// and sizes in the bytes left to software, and another magic number behind the whole.
    ///
    /// # Safety
    /// The area is of a frame, as `of_frame` wants it.
    pub unsafe fn announced(&self) -> Option<usize> {
        let (extended, size) = (self.u32(SOFTWARE + 4) as usize, self.u32(SOFTWARE + 16) as usize);
        if self.u32(SOFTWARE) != MAGIC1 || extended != size + 4 || size < HEADER_END {
            return None;
        }
        // SAFETY: the first magic number says that the kernel wrote this many bytes and four more.
        let magic2 = unsafe { self.bytes.as_ptr().add(size).cast::<u32>().read_unaligned() };
        (magic2 == MAGIC2 && size >= Self::size(self.width)).then_some(extended)
    }
}
