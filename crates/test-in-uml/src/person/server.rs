//! The requests that the holder of a guest serves.

use std::net::SocketAddrV4;
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use socket2::Socket;
use uml_protocol::commands::PORT;
use uml_protocol::wire::greet;

use super::message::{About, Answer, Asked};
use super::registry::Registered;
use crate::cancel::CancelToken;
use crate::packet;
use crate::stage::{GuestProcess, Link, Stage};
use crate::threads;

/// How often, in milliseconds, it is looked whether the guest is over.
const PERIOD: u8 = 100;

/// The time somebody who connected may take to say what is wanted.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time a guest may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The time between two tries to reach a guest that boots.
pub(super) const AGAIN: Duration = Duration::from_millis(50);

/// The time a guest that has accepted our connection may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// A guest, as others see it.
pub(super) struct Server<'a> {
    pub registered: &'a Registered,
    pub about: About,
    pub stage: &'a Stage,
    pub link: &'a Link,
    pub process: &'a GuestProcess<'a>,
}

impl Server<'_> {
    /// Serves whoever asks, until the guest is over.
    pub fn serve(&self, over: &CancelToken) -> Result<()> {
        std::thread::scope(|scope| {
            while over.check().is_ok() {
                let Some(asks) = self.accept()? else { continue };
                // Whoever is slow is nobody else's concern. Without room for a thread the connection closes.
                let _ = threads::spawn_in(scope, move || self.answer(&asks));
            }
            Ok(())
        })
    }

    fn accept(&self) -> Result<Option<Socket>> {
        let mut fds = [PollFd::new(self.registered.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PERIOD) {
            Ok(0) | Err(Errno::EINTR) => return Ok(None),
            Ok(_) => {}
            Err(errno) => return Err(errno).context("cannot wait for connections"),
        }
        Ok(self.registered.accept().ok())
    }

    fn answer(&self, asks: &Socket) {
        let limited = asks
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| asks.set_write_timeout(Some(PATIENCE)));
        let Ok(Some((asked, _))) =
            limited.map_err(anyhow::Error::from).and_then(|()| packet::receive(asks.as_fd()))
        else {
            return;
        };
        let (answer, connection) = match asked {
            Asked::About => (Answer::About(self.about.clone()), None),
            Asked::End => {
                self.process.kill();
                (Answer::Done, None)
            }
            Asked::Connect => match self.connect() {
                Ok(connection) => (Answer::Done, Some(connection)),
                Err(error) => (Answer::Failed(format!("{error:#}")), None),
            },
        };
        let fds: Vec<_> = connection.iter().map(|socket| socket.as_fd()).collect();
        // Whoever is gone needs no answer.
        let _ = packet::send(asks.as_fd(), &answer, &fds);
    }

    /// Returns true if the guest takes commands by now.
    pub fn is_greeted(&self) -> Result<bool> {
        let Ok(mut connection) = self.connect() else { return Ok(false) };
        connection.set_read_timeout(Some(GREETING)).context("cannot limit a connection")?;
        greet(&mut connection).context("the guest's commands cannot be understood")?;
        Ok(true)
    }

    /// Waits until the guest takes commands.
    pub fn greeted(&self, over: &CancelToken) -> Result<()> {
        while !self.is_greeted()? {
            over.check()?;
            std::thread::sleep(AGAIN);
        }
        Ok(())
    }

    /// Connects to the guest's port for commands.
    pub fn connect(&self) -> Result<Socket> {
        let address = SocketAddrV4::new(self.link.guest(), PORT);
        self.stage
            .connect(address, CONNECT)
            .context("the guest takes no commands: it may still be booting")
    }
}
