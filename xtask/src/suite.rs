//! The user's tests: built for guests, listed, run, judged.

mod build;

pub use build::{TestBinary, TestBuildFailed, agent, test_binaries};
