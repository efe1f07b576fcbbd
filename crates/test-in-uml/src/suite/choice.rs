//! Which of the cases are run, in which order, and in how many guests.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::cases::Case;
use super::plan::{Job, Work};
use crate::config::ByteSize;
use crate::host::memory_left;
use crate::stage::cpus;

/// One of several parts of the cases; all parts together are all cases, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    by: By,
    /// Which part, from 0.
    index: usize,
    parts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Cases are dealt out like cards: the parts are equally large.
    Slice,
    /// A case stays in its part whatever cases come and go.
    Hash,
}

impl FromStr for Partition {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let hint = "write slice:1/3 or hash:1/3";
        let (by, rest) = text.split_once(':').context(hint)?;
        let by = match by {
            "slice" => By::Slice,
            "hash" => By::Hash,
            _ => bail!("there is no `{by}`: {hint}"),
        };
        let (number, parts) = rest.split_once('/').context(hint)?;
        let (number, parts): (usize, usize) =
            (number.parse().context(hint)?, parts.parse().context(hint)?);
        ensure!((1..=parts).contains(&number), "part {number} is not one of {parts}");
        Ok(Self { by, index: number - 1, parts })
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            By::Slice => "slice",
            By::Hash => "hash",
        };
        write!(f, "{by}:{}/{}", self.index + 1, self.parts)
    }
}

impl Partition {
    /// The cases of this part.
    pub fn of(&self, cases: Vec<Case>) -> Vec<Case> {
        let numbered = cases.into_iter().enumerate();
        numbered
            .filter(|(index, case)| self.holds(*index, &case.name().to_string()))
            .map(|(_, case)| case)
            .collect()
    }

    fn holds(&self, index: usize, name: &str) -> bool {
        let of = match self.by {
            By::Slice => index as u64,
            By::Hash => {
                let hash = Sha256::digest(name);
                hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
            }
        };
        of % self.parts as u64 == self.index as u64
    }
}

/// Brings the cases into the order of a seed.
pub fn shuffle(cases: &mut [Case], seed: u64) {
    fastrand::Rng::with_seed(seed).shuffle(cases);
}

/// A job for each repetition of each case, in whole rounds: what a case leaves in a kernel meets the
/// other cases.
pub fn repeated(cases: &[Case], times: u32) -> Vec<Job> {
    let round = |repetition| works(cases).into_iter().map(move |work| Job { work, repetition });
    (1..=times).flat_map(round).collect()
}

/// What is run in one go of the cases: unit tests of one suite are, at the place of the first of them.
fn works(cases: &[Case]) -> Vec<Work> {
    let (mut works, mut suites) = (Vec::new(), HashMap::new());
    for case in cases {
        match case {
            Case::Binary(case) => works.push(Work::Case(case.clone())),
            Case::Kunit(test) => {
                let at = *suites.entry(&test.suite).or_insert(works.len());
                match works.get_mut(at) {
                    Some(Work::Kunit(tests)) => tests.push(test.clone()),
                    _ => works.push(Work::Kunit(vec![test.clone()])),
                }
            }
        }
    }
    works
}

/// The number of guests there are at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Seats {
    /// As many as there are CPUs, and memory for.
    #[default]
    Auto,
    /// So many.
    Number(usize),
}

/// What a guest of User Mode Linux takes beside its memory, roughly, in bytes.
const BESIDE: u64 = 64 << 20;

impl Seats {
    /// Their number, for guests with so much memory each.
    pub fn number(self, memory: ByteSize) -> usize {
        match self {
            Seats::Number(number) => number,
            Seats::Auto => {
                let room = memory_left().map_or(u64::MAX, |free| free / (memory.bytes() + BESIDE));
                cpus().len().min(usize::try_from(room).unwrap_or(usize::MAX)).max(1)
            }
        }
    }
}

impl FromStr for Seats {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" {
            return Ok(Seats::Auto);
        }
        let number = text.parse().ok().filter(|number| (1..=1024).contains(number));
        Ok(Seats::Number(number.context("write `auto`, or a number from 1 to 1024")?))
    }
}

impl fmt::Display for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seats::Auto => write!(f, "auto"),
            Seats::Number(number) => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_cases_each_once() {
        for by in ["slice", "hash"] {
            let parts: Vec<Partition> =
                (1..=3).map(|number| format!("{by}:{number}/3").parse().unwrap()).collect();
            for index in 0..100 {
                let name = format!("binary case_{index}");
                let holding = parts.iter().filter(|part| part.holds(index, &name)).count();
                assert_eq!(holding, 1, "{by} {name}");
            }
        }
        let first: Partition = "hash:1/3".parse().unwrap();
        assert_eq!(first.to_string(), "hash:1/3");
        let of = |index| first.holds(index, "ext4 acls");
        assert_eq!(of(0), of(1), "a hash goes by the name alone");
    }

    #[test]
    fn what_is_no_partition_is_refused() {
        for wrong in ["", "1/3", "slice:0/3", "slice:4/3", "hash:1/0", "count:1/3", "slice:a/b"] {
            assert!(wrong.parse::<Partition>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn there_is_always_a_guest() {
        assert!(Seats::Auto.number(ByteSize::mib(1 << 40)) == 1);
        assert_eq!("3".parse::<Seats>().unwrap().number(ByteSize::default()), 3);
        for wrong in ["0", "-1", "many", "1025"] {
            assert!(wrong.parse::<Seats>().is_err(), "{wrong}");
        }
    }
}
