//! The user's tests: built for guests, listed, run, judged.

mod build;
mod cases;
mod guests;
mod run;
mod verdict;

pub use build::{TestBinary, TestBuildFailed, agent, test_binaries};
pub use cases::{Case, Filter, Ignored, list};
pub use guests::Life;
pub(crate) use guests::first_cpu;
pub use run::{AfterFailure, Finished, Plan, Tally, run};
pub use verdict::{Outcome, Verdict};
