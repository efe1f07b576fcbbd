//! Ctrl-C: the first asks the run to end in order, the second ends it at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

static REQUESTS: AtomicU32 = AtomicU32::new(0);
static BEFORE_EXIT: OnceLock<fn()> = OnceLock::new();

/// The user asked us to stop; the exit code is 130.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Exit code of an interrupted run: 128 + SIGINT, as shells give it.
pub const EXIT_CODE: u8 = 130;

/// Starts to listen for SIGINT, SIGTERM and SIGHUP.
///
/// # Errors
/// When the handler cannot be installed.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTS.fetch_add(1, Ordering::SeqCst) > 0 {
            if let Some(act) = BEFORE_EXIT.get() {
                act();
            }
            // Everything that we started dies with us: each child holds a lifeline to this process.
            std::process::exit(EXIT_CODE.into());
        }
    })
    .context("cannot install the handler for Ctrl-C")
}

/// Names what must be done even when a second request ends us at once; the first to be named stays.
pub fn before_exit(act: fn()) {
    BEFORE_EXIT.get_or_init(|| act);
}

/// Whether the user asked us to stop.
pub fn requested() -> bool {
    REQUESTS.load(Ordering::SeqCst) > 0
}

/// Fails once the user asked us to stop: long work calls this between its pieces.
///
/// # Errors
/// [`Interrupted`].
pub fn check() -> Result<(), Interrupted> {
    if requested() { Err(Interrupted) } else { Ok(()) }
}
