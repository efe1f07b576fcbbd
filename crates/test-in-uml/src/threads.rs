//! Threads where the host may refuse one more process, as `pids.max` of a control group does:
//! `std::thread::spawn` panics then.

use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

use anyhow::{Context as _, Result};

const REFUSED: &str = "cannot start a thread: a limit on processes is reached (ulimit -u, or \
                       pids.max of a control group)";

/// Starts a thread.
///
/// # Errors
/// When the host refuses it.
pub(crate) fn spawn<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    Builder::new().spawn(body).context(REFUSED)
}

/// Starts a thread that ends before its scope does.
///
/// # Errors
/// When the host refuses it.
pub(crate) fn spawn_in<'s, T: Send + 's>(
    scope: &'s Scope<'s, '_>,
    body: impl FnOnce() -> T + Send + 's,
) -> Result<ScopedJoinHandle<'s, T>> {
    Builder::new().spawn_scoped(scope, body).context(REFUSED)
}
