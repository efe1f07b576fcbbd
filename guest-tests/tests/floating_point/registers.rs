//! The registers that a case sets and expects to find again.

use std::arch::is_x86_feature_detected;

use anyhow::{Result, ensure};

/// How wide the vector registers are that a case uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Width {
    /// Sixteen XMM registers of 16 bytes.
    Sse,
    /// Sixteen YMM registers of 32 bytes.
    Avx,
    /// 32 ZMM registers of 64 bytes, and eight mask registers.
    Avx512,
}

impl Width {
    /// The widest that this CPU has, and that the host's kernel lets programs use.
    pub fn widest() -> Self {
        if is_x86_feature_detected!("avx512f") {
            Self::Avx512
        } else if is_x86_feature_detected!("avx") {
            Self::Avx
        } else {
            Self::Sse
        }
    }

    /// The widest that signal frames of this kernel carry.
    ///
    /// # Errors
    /// When the kernel's release cannot be told.
    pub fn in_frames() -> Result<Self> {
        let most = if crate::is_before_regsets()? { Self::Avx } else { Self::Avx512 };
        Ok(Self::widest().min(most))
    }

    pub fn bytes(self) -> usize {
        match self {
            Self::Sse => 16,
            Self::Avx => 32,
            Self::Avx512 => 64,
        }
    }

    pub fn count(self) -> usize {
        match self {
            Self::Sse | Self::Avx => 16,
            Self::Avx512 => 32,
        }
    }
}

/// All that programs keep in floating-point and vector registers. What `width` does not have is
/// zero. The assembly knows the layout by `offset_of!`.
#[derive(Clone, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Registers {
    pub vectors: [[u8; 64]; 32],
    pub masks: [u64; 8],
    /// Ten bytes each, from the top of the x87 stack on.
    pub x87: [[u8; 16]; 8],
    pub mxcsr: u32,
    /// The x87 control word.
    pub control: u32,
    pub width: Width,
}

impl Registers {
    pub fn zero(width: Width) -> Self {
        Self {
            vectors: [[0; 64]; 32],
            masks: [0; 8],
            x87: [[0; 16]; 8],
            mxcsr: 0,
            control: 0,
            width,
        }
    }

    /// What a program starts with, and, on x86_64, a signal handler.
    pub fn initial(width: Width) -> Self {
        Self { mxcsr: 0x1f80, control: 0x037f, ..Self::zero(width) }
    }

    /// A pattern that differs between seeds in each register.
    pub fn pattern(width: Width, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut registers = Self::zero(width);
        for vector in &mut registers.vectors[..width.count()] {
            for bytes in vector[..width.bytes()].chunks_exact_mut(8) {
                bytes.copy_from_slice(&random.next().to_le_bytes());
            }
        }
        if width == Width::Avx512 {
            // The base set of AVX-512 moves 16 bits of a mask register.
            registers.masks = std::array::from_fn(|_| random.next() & 0xffff);
        }
        for x87 in &mut registers.x87 {
            // A normal number: the top bit of the mantissa is set, the exponent is moderate.
            x87[..8].copy_from_slice(&(random.next() | 1 << 63).to_le_bytes());
            x87[8..10].copy_from_slice(&(0x3fff + random.below(64) as u16).to_le_bytes());
        }
        // Of the control words the rounding mode: nothing else is without an effect on Rust.
        registers.mxcsr = 0x1f80 | (random.below(4) as u32) << 13;
        registers.control = 0x037f | (random.below(4) as u32) << 10;
        registers
    }

    /// An error that names what differs, when anything does. When nothing does nothing is allocated:
    /// handlers that come at any time look, and children of a process with threads.
    pub fn expect(&self, found: &Self) -> Result<()> {
        ensure!(self == found, "not as they were: {}", self.differences(found).join(", "));
        Ok(())
    }

    fn differences(&self, found: &Self) -> Vec<String> {
        let mut lost = Vec::new();
        for (part, name) in [(0..16, "xmm"), (16..32, "ymm"), (32..64, "zmm")] {
            let pairs = self.vectors.iter().zip(&found.vectors).enumerate();
            let differ = pairs.filter(|(_, (was, is))| was[part.clone()] != is[part.clone()]);
            let (zero, other) = differ
                .map(|(index, (_, is))| (index, is[part.clone()].iter().all(|&byte| byte == 0)))
                .partition::<Vec<_>, _>(|&(_, zero)| zero);
            lost.extend(names(
                &format!("zero in {name}"),
                zero.into_iter().map(|(index, _)| index),
            ));
            lost.extend(names(name, other.into_iter().map(|(index, _)| index)));
        }
        let indices =
            |differ: &dyn Fn(usize) -> bool| (0..8).filter(|&i| differ(i)).collect::<Vec<_>>();
        lost.extend(names("k", indices(&|i| self.masks[i] != found.masks[i])));
        lost.extend(names("st", indices(&|i| self.x87[i] != found.x87[i])));
        if self.mxcsr != found.mxcsr {
            lost.push(format!("mxcsr {:#x} for {:#x}", found.mxcsr, self.mxcsr));
        }
        if self.control != found.control {
            lost.push(format!("x87 control word {:#x} for {:#x}", found.control, self.control));
        }
        lost
    }
}

/// `xmm 0 1 2` for three registers; nothing for none.
fn names(kind: &str, indices: impl IntoIterator<Item = usize>) -> Option<String> {
    let list: String = indices.into_iter().map(|index| format!(" {index}")).collect();
    (!list.is_empty()).then(|| format!("{kind}{list}"))
}

/// A sequence that is the same each time: what failed once can be tried again.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64: neighbouring seeds give unrelated sequences.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
