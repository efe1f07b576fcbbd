//! Ctrl-C: the first asks the run to end in order, the second ends it at once.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

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

/// Returns true if the user asked us to stop.
pub fn requested() -> bool {
    REQUESTS.load(Ordering::SeqCst) > 0
}

/// Returns true if the user asked us to stop, for who has just seen something fail: the thread that hears of
/// signals may be a moment behind the programs that they end.
pub fn was_requested() -> bool {
    if !requested() {
        std::thread::sleep(BEHIND);
    }
    requested()
}

/// Longer than a thread takes to wake up.
const BEHIND: Duration = Duration::from_millis(50);

/// Ends work that is not wanted any more, while the rest of the run goes on. Clones are of one work.
///
/// What waits takes one. Ctrl-C ends the work of every token.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Ends the work as Ctrl-C would.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Fails once the work is not wanted any more: long work calls this between its pieces.
    ///
    /// # Errors
    /// [`Interrupted`].
    pub fn check(&self) -> Result<(), Interrupted> {
        if requested() || self.0.load(Ordering::SeqCst) { Err(Interrupted) } else { Ok(()) }
    }
}

/// The time silence may last before we look whether the user asked us to stop, in milliseconds.
const PERIOD: u8 = 100;

/// The output of a command, until its end or until it is not wanted any more, which is an error.
#[derive(Debug)]
pub struct Interruptible {
    /// The output.
    pub output: PipeReader,
    /// Whose work it is.
    pub cancel: CancelToken,
}

impl Read for Interruptible {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.cancel.check().map_err(io::Error::other)?;
            let mut fds = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PERIOD) {
                // The very signal that asks us to stop interrupts the wait.
                Ok(0) | Err(Errno::EINTR) => {}
                _ => return self.output.read(buffer),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ended_is_the_work_of_the_token_alone() {
        let (one, other) = (CancelToken::default(), CancelToken::default());
        let clone = one.clone();
        one.cancel();
        assert!(one.check().is_err() && clone.check().is_err());
        assert!(other.check().is_ok());
    }
}
