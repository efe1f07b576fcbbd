//! Exit codes.

use crate::{cancel, suite};

/// Exit codes, those of nextest where it has one.
pub(super) mod code {
    pub const WRONG_USAGE: u8 = 2;
    pub const NO_TESTS: u8 = 4;
    pub const SETUP_FAILED: u8 = 96;
    pub const TEST_FAILED: u8 = 100;
    pub const TEST_BUILD_FAILED: u8 = 101;
}

/// The command line asks for what cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub(super) struct WrongUsage(anyhow::Error);

pub(super) fn wrong_usage(error: anyhow::Error) -> anyhow::Error {
    WrongUsage(error).into()
}

/// That of an error.
pub(super) fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<cancel::Interrupted>() {
        cancel::EXIT_CODE
    } else if error.is::<WrongUsage>() || error.is::<suite::NoSuite>() {
        code::WRONG_USAGE
    } else if error.is::<suite::TestBuildFailed>() {
        code::TEST_BUILD_FAILED
    } else {
        code::SETUP_FAILED
    }
}
