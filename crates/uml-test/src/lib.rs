//! What a guest test can ask for.
//!
//! A guest test is an ordinary `#[test]` in `tests/`, run as root in a guest, one process a case,
//! in its package's folder; `TMPDIR` is a fresh one of its own. Each test file begins with
//! `use uml_test as _;` or uses something of this library: that links the guard that keeps guest
//! tests from running anywhere else, and without it no test file links.

use std::fmt;
use std::path::PathBuf;

pub use uml_protocol::env;

mod block;
mod command;
mod expect;
mod guard;
mod kernel;
mod lab;
mod leaks;
mod module;
mod mounts;
mod part;
mod peer;

pub use block::LoopDevice;
pub use command::run;
pub use expect::{expect_death, expect_kernel};
pub use kernel::{Release, config, kernel_log, needs, parameter, release};
pub use lab::{
    Autoconfiguration, Disk, GuestPlan, InterfaceAddresses, Lab, LabGuest, Network, Ran, Shape,
};
pub use leaks::{Leak, scan_for_leaks};
pub use module::Module;
pub use mounts::{Mount, MountEntry, mounts};
pub use peer::HostPeer;

/// A failure that is shown as text, with its causes, when a test returns it.
pub struct Failure(anyhow::Error);

/// What a guest test returns: `?` works on every error.
pub type TestResult = Result<(), Failure>;

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// Says that this test cannot do its work here; it is reported as skipped, with the reason.
/// Return from the test after it.
///
/// # Panics
/// When the reason cannot be written: a skip that nobody hears of would count as passed.
pub fn skip(reason: &str) {
    let file = std::env::var_os(env::SKIP_FILE).expect("the agent names a file for the reason");
    std::fs::write(file, reason).expect("the reason can be written");
}

/// The fresh folder of this case; it is on the root file system, and removed afterwards.
///
/// # Panics
/// Outside of a guest.
pub fn case_dir() -> PathBuf {
    std::env::var_os(env::CASE_DIR).expect("the agent names the case's folder").into()
}
