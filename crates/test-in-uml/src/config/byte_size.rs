//! Sizes.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// No host has room for more, and sums of a few sizes stay within 64 bits.
const MOST: u64 = 1 << 40;

/// A size in bytes, written as User Mode Linux writes `mem=`: a number with `K`, `M` or `G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(u64);

impl ByteSize {
    /// A number of mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Default for ByteSize {
    fn default() -> Self {
        Self::mib(256)
    }
}

impl FromStr for ByteSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let hint = || format!("`{text}` is not a size: write a whole number with K, M or G");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match &text[digits.len()..] {
            "K" | "k" => 10,
            "M" | "m" => 20,
            "G" | "g" => 30,
            _ => bail!(hint()),
        };
        let count: u64 = digits.parse().with_context(hint)?;
        let bytes = count.checked_mul(1 << shift).with_context(hint)?;
        ensure!(bytes >= 1 << 20, "`{text}` is less than one mebibyte");
        ensure!(bytes <= MOST, "`{text}` is more than {}", Self(MOST));
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for ByteSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error: anyhow::Error| format!("{error:#}"))
    }
}

impl From<ByteSize> for String {
    fn from(memory: ByteSize) -> Self {
        memory.to_string()
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % (1 << 30) == 0 => write!(f, "{}G", bytes >> 30),
            bytes if bytes % (1 << 20) == 0 => write!(f, "{}M", bytes >> 20),
            bytes => write!(f, "{}K", bytes >> 10),
        }
    }
}
