//! What decides what is left to chance, so that it can be had again.

/// A seed that nobody chose.
pub fn random_seed() -> u64 {
    // Short enough to be typed again.
    fastrand::u64(..1 << 32)
}
