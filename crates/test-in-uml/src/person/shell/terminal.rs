//! Our terminal in raw mode, given back whatever happens, and the guest's terminal.

use std::fs::File;
use std::io::{IsTerminal as _, stdin};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::ui::size_of;

nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, Winsize);

/// How our terminal was found. It is not a field of [`RawMode`]: a second request to stop ends us
/// without unwinding, and gives the terminal back from another thread.
static FOUND: Mutex<Option<Termios>> = Mutex::new(None);

/// Our terminal passes every key on. Dropping it gives the terminal back.
#[derive(Debug)]
pub(in super::super) struct RawMode(());

impl RawMode {
    /// Nothing, if standard input is not a terminal.
    pub fn enter() -> Result<Option<Self>> {
        if !stdin().is_terminal() {
            return Ok(None);
        }
        let found = tcgetattr(stdin()).context("cannot read the terminal's settings")?;
        let mut raw = found.clone();
        cfmakeraw(&mut raw);
        *FOUND.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        let mode = Self(());
        tcsetattr(stdin(), SetArg::TCSADRAIN, &raw).context("cannot make the terminal raw")?;
        Ok(Some(mode))
    }

    /// Gives the terminal back.
    pub fn leave(self) -> Result<()> {
        let result = restore();
        std::mem::forget(self);
        result.context("cannot give the terminal back: `stty sane` does")
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, if it was taken. Errors have nowhere to go.
pub(in super::super) fn give_back() {
    let _ = restore();
}

/// At once: a terminal that nobody reads any more would never drain.
fn restore() -> Result<(), Errno> {
    match FOUND.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(found) => tcsetattr(stdin(), SetArg::TCSANOW, &found),
        None => Ok(()),
    }
}

/// The size of the terminal that standard input is, if it is one.
pub(in super::super) fn our_size() -> Option<Winsize> {
    size_of(stdin().as_fd())
}

/// A pseudo-terminal whose other end is the guest's console.
#[derive(Debug)]
pub(super) struct Pty {
    /// Our end; neither reading nor writing waits.
    pub our_end: File,
    /// The guest's.
    pub guest_end: OwnedFd,
}

impl Pty {
    pub fn open() -> Result<Self> {
        let pty = openpty(our_size().as_ref(), None).context("cannot open a pseudo-terminal")?;
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
                .context("cannot set up a pseudo-terminal")?;
        }
        // The guest has a line discipline of its own: this one must neither echo nor edit.
        let mut settings = tcgetattr(&pty.slave).context("cannot read a terminal's settings")?;
        cfmakeraw(&mut settings);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &settings)
            .and_then(|()| fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)))
            .context("cannot set up a pseudo-terminal")?;
        Ok(Self { our_end: File::from(pty.master), guest_end: pty.slave })
    }
}

/// Tells the guest of a new size; its kernel gets SIGWINCH.
pub(super) fn resize(our_end: &File, size: &Winsize) {
    // SAFETY: TIOCSWINSZ reads a whole `winsize`, and this is one. A guest that is gone needs none.
    let _ = unsafe { set_size(our_end.as_fd().as_raw_fd(), size) };
}
