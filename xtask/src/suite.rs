//! The user's tests: built for guests, listed, run, judged.

mod build;
mod cases;
mod run;
mod verdict;

pub use build::{TestBinary, TestBuildFailed, agent, test_binaries};
pub use cases::{Case, Filter, Ignored, list};
pub(crate) use run::first_cpu;
pub use run::{AfterFailure, Finished, Life, Plan, Tally, run};
pub use verdict::{Outcome, Verdict};
