//! The bulk data of network tests: both ends make the same bytes, and what is lost, doubled or
//! swapped on the way shows.

use sha2::{Digest as _, Sha256};

/// Bytes of a block.
pub const BLOCK: usize = 64 << 10;

/// The blocks that belong to `seed`, without end: each is the same noise behind its own number.
pub fn blocks(seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let hashes = (0_u64..).map(move |index| Sha256::digest(format!("{seed}:{index}")));
    let noise: Vec<u8> = hashes.flatten().take(BLOCK - 8).collect();
    (0_u64..).map(move |number| [&number.to_le_bytes()[..], &noise].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_differ_by_number_and_by_seed() {
        let of = |seed| blocks(seed).take(2).collect::<Vec<_>>();
        let (one, two) = (of(1), of(2));
        assert!(one.iter().chain(&two).all(|block| block.len() == BLOCK));
        assert_ne!(one[0], one[1]);
        assert_ne!(one[0], two[0]);
        assert_eq!(one, of(1));
    }
}
