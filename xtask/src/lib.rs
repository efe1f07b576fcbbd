//! The engine of `cargo xtask test-in-uml`.
