//! The user's tests: built for guests, listed, run, judged.

mod build;
mod by_hand;
mod cargo;
mod case_line;
mod cases;
mod choice;
mod listing;
mod lists;
mod note;
mod packages;
mod plan;
mod power_on;
mod programs;
mod queue;
mod run;
mod rustflags;
mod scenario;
mod seat;
mod selection;
mod session;
mod suites;
mod verdict;
mod way_out;
mod word;

pub use build::{Built, Harness, TestBinary, agent, test_binaries};
pub use by_hand::{RUN, write_by_hand};
pub use cargo::TestBuildFailed;
pub use cases::{Case, CaseFilter, Ignored, OpenBinary, list};
pub use choice::{Partition, Seats, random_seed, repeated, shuffle};
pub use note::{Note, Observer};
pub use plan::{AfterFailure, Job, Lane, Plan, Reuse, Target};
pub use run::{FAIL_FAST, Finished, run};
pub use selection::Selection;
pub use suites::{NoSuite, Suites, are_of_kernels, named_by};
pub use word::Word;
