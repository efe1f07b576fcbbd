//! Our side of the stage's socket: one request at a time, none without a deadline.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::channel::{Numbered, Reply, StageRequest};
use crate::packet;

/// The time the stage may take to answer. It does nothing that takes long; but it may have been stopped.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The requests of all our threads.
#[derive(Debug)]
pub(super) struct Asking {
    /// Nothing while a request is under way.
    socket: Mutex<Option<Socket>>,
    freed: Condvar,
}

impl Asking {
    /// Waits for the first word of a stage: the folder where it is.
    pub fn begin(fd: OwnedFd) -> Result<(Self, PathBuf)> {
        let mut socket = Socket { fd, asked: 0 };
        let (begun, _) = socket.reply(Instant::now() + PATIENCE)?;
        let Reply::Begun { dir } = begun else { bail!("the stage began with {begun:?}") };
        Ok((Self { socket: Mutex::new(Some(socket)), freed: Condvar::new() }, dir))
    }

    /// Tells the stage that there will be no more requests.
    pub fn end(&mut self) {
        drop(self.socket.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Asks, and waits for the reply.
    pub fn ask(
        &self,
        deadline: Instant,
        request: &StageRequest,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(i32, Vec<OwnedFd>)> {
        let mut socket = self.acquire(deadline)?;
        let answer = socket.ask(deadline, request, fds);
        self.release(socket);
        answer
    }

    /// Waits for the requests of other threads.
    fn acquire(&self, deadline: Instant) -> Result<Socket> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.freed.wait_timeout_while(socket, left, |socket| socket.is_none());
        let (mut socket, _) = waited.unwrap_or_else(PoisonError::into_inner);
        socket.take().context(NO_ANSWER)
    }

    fn release(&self, socket: Socket) {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
        self.freed.notify_one();
    }
}

const NO_ANSWER: &str = "the stage does not answer";

/// Our end of the stage's socket.
#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    /// How many requests were made. The reply to one that nobody waits for any more is passed over.
    asked: u64,
}

impl Socket {
    fn ask(
        &mut self,
        deadline: Instant,
        request: &StageRequest,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(i32, Vec<OwnedFd>)> {
        self.asked += 1;
        setsockopt(&self.fd, sockopt::SendTimeout, &left_until(deadline))
            .context("cannot limit a request")?;
        let request = Numbered { number: self.asked, message: request };
        packet::send(self.fd.as_fd(), &request, fds).context("the stage does not listen")?;
        match self.reply(deadline)? {
            (Reply::Done { id }, fds) => Ok((id, fds)),
            (other, _) => bail!("the stage answers {other:?}"),
        }
    }

    fn reply(&mut self, deadline: Instant) -> Result<(Reply, Vec<OwnedFd>)> {
        loop {
            ensure!(Instant::now() < deadline, NO_ANSWER);
            setsockopt(&self.fd, sockopt::ReceiveTimeout, &left_until(deadline))
                .context("cannot limit a request")?;
            match packet::receive(self.fd.as_fd()).context(NO_ANSWER)? {
                Some((Numbered { number, .. }, _)) if number != self.asked => {}
                Some((Numbered { message: Reply::Failed { why }, .. }, _)) => bail!(why),
                Some((Numbered { message, .. }, fds)) => return Ok((message, fds)),
                None => bail!("the stage ended"),
            }
        }
    }
}

/// The time that is left, as a limit for a socket, for which zero means none (socket(7)).
pub(super) fn left_until(deadline: Instant) -> TimeVal {
    let left = deadline.saturating_duration_since(Instant::now());
    TimeVal::microseconds(i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1000))
}
