//! Between our terminal and the guest's: one loop, which waits for whatever comes first.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _, stdin};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::Winsize;

use super::super::end::{GuestEnd, TAIL, judge};
use super::escape::Escape;
use super::terminal::{Pty, our_size, resize};
use crate::cancel::CancelToken;
use crate::stage::GuestStatus;

/// How often, in milliseconds, we look whether the terminal has another size and whether we are
/// asked to stop. Both are signals, which may arrive in any thread: looking cannot miss one.
const PERIOD: u8 = 100;

/// A guest that does not read what is typed makes us drop what goes beyond this, in bytes: a
/// person who types at a hung guest still has to be heard.
const PENDING: usize = 64 << 10;

/// What is read from standard input.
enum Input {
    /// A person's keys, among them the escape.
    Keys(Escape),
    /// Bytes, as they are.
    Bytes,
    /// No more.
    Over,
}

pub(super) struct ShellSession {
    our_end: File,
    input: Input,
    /// For the guest, which has not read it yet.
    pending: Vec<u8>,
    size: Option<Winsize>,
    /// The end of what the guest said.
    tail: Vec<u8>,
}

impl ShellSession {
    /// Takes our end; the guest's is closed here, for the guest has its own.
    pub fn new(pty: Pty) -> Result<Self> {
        let terminal = stdin().is_terminal();
        let input = if terminal { Input::Keys(Escape::default()) } else { Input::Bytes };
        let Pty { our_end, guest_end } = pty;
        drop(guest_end);
        Ok(Self { our_end, input, pending: Vec::new(), size: our_size(), tail: Vec::new() })
    }

    /// Passes everything on until the guest has ended, or somebody wants it to.
    pub fn run(mut self, cancel: &CancelToken, status: GuestStatus) -> Result<GuestEnd> {
        loop {
            cancel.check()?;
            self.follow_size();
            let (typed, said, ended) = self.wait(&status)?;
            if said && !self.guest_says()? {
                break;
            }
            if ended && !said {
                break;
            }
            if typed && self.person_types()? {
                return Ok(GuestEnd::Left);
            }
            self.tell_guest();
        }
        self.judge(status)
    }

    /// Waits for keys, for the console, for the guest's end.
    fn wait(&self, status: &GuestStatus) -> Result<(bool, bool, bool)> {
        let to_guest =
            if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        let stdin = stdin();
        let mut fds = vec![
            PollFd::new(self.our_end.as_fd(), PollFlags::POLLIN | to_guest),
            PollFd::new(status.as_fd(), PollFlags::POLLIN),
        ];
        let listens = match self.input {
            Input::Keys(_) => true,
            // Who writes to a pipe can wait.
            Input::Bytes => self.pending.is_empty(),
            Input::Over => false,
        };
        if listens {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PERIOD) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for the guest's console"),
        }
        let of =
            |index: usize| fds.get(index).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        let comes = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        Ok((of(2).intersects(comes), of(0).intersects(comes), of(1).intersects(comes)))
    }

    fn follow_size(&mut self) {
        let now = our_size();
        if let Some(size) = now.filter(|_| now != self.size) {
            resize(&self.our_end, &size);
            self.size = now;
        }
    }

    /// Shows what the guest says; false when its console has closed.
    fn guest_says(&mut self) -> Result<bool> {
        let mut bytes = [0; 16 << 10];
        let count = match self.our_end.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if is_for_later(&error) => return Ok(true),
            // EIO: nobody holds the guest's end any more (pty(7)).
            Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => return Ok(false),
            Err(error) => return Err(error).context("cannot read the guest's console"),
        };
        let mut out = std::io::stdout().lock();
        out.write_all(&bytes[..count])
            .and_then(|()| out.flush())
            .context("cannot show the guest's console")?;
        self.tail.extend(&bytes[..count]);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
        Ok(true)
    }

    /// Takes what was typed; true when the person leaves.
    fn person_types(&mut self) -> Result<bool> {
        let mut bytes = [0; 4096];
        // Not by `Stdin`: what lay in its buffer would be no reason to wake up.
        let count = match nix::unistd::read(stdin(), &mut bytes) {
            Err(Errno::EINTR | Errno::EAGAIN) => return Ok(false),
            Ok(0) | Err(_) => {
                // The guest may still have work to do: it is over when the guest says so.
                self.input = Input::Over;
                return Ok(false);
            }
            Ok(count) => count,
        };
        match &mut self.input {
            Input::Keys(escape) => {
                let typed = escape.take(&bytes[..count]);
                if self.pending.len() < PENDING {
                    self.pending.extend(typed.pass);
                }
                return Ok(typed.quit);
            }
            Input::Bytes => self.pending.extend(&bytes[..count]),
            Input::Over => {}
        }
        Ok(false)
    }

    /// Hands on as much as the guest takes. What it says of its end comes by another way.
    fn tell_guest(&mut self) {
        while !self.pending.is_empty() {
            match self.our_end.write(&self.pending) {
                Ok(count) if count > 0 => drop(self.pending.drain(..count)),
                _ => return,
            }
        }
    }

    fn judge(mut self, status: GuestStatus) -> Result<GuestEnd> {
        let status = status.wait()?;
        // What it said last may still be in the terminal.
        while let Ok(true) = self.guest_says() {
            let mut fds = [PollFd::new(self.our_end.as_fd(), PollFlags::POLLIN)];
            if !matches!(poll(&mut fds, PERIOD), Ok(1..)) {
                break;
            }
        }
        judge(status, &self.tail)
    }
}

fn is_for_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}
