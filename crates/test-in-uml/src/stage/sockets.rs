//! Sockets on the stage, for whoever is outside of it.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::socket::{Backlog, SockaddrIn, bind, connect, listen, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::asking::{PATIENCE, left_until};
use super::channel::StageRequest;
use super::{Link, Stage};

impl Stage {
    /// Connects to an address on the stage. The socket is made there and stays there, so that the
    /// stream works like any other.
    ///
    /// # Errors
    /// When nobody answers within `timeout`.
    pub fn connect(&self, address: SocketAddrV4, timeout: Duration) -> Result<TcpStream> {
        let deadline = Instant::now() + timeout;
        let socket = self.socket(*address.ip(), deadline)?;
        // connect(2) honours the send timeout (socket(7)).
        setsockopt(&socket, sockopt::SendTimeout, &left_until(deadline))
            .context("cannot limit a connect")?;
        connect(socket.as_raw_fd(), &SockaddrIn::from(address))
            .with_context(|| format!("cannot connect to {address}"))?;
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::zero())
            .context("cannot lift the limit of a connect")?;
        Ok(TcpStream::from(socket))
    }

    /// Listens on the host end of a link.
    ///
    /// # Errors
    /// When the address is not of this stage, or its port is taken.
    pub fn listen(&self, host: Ipv4Addr, port: u16) -> Result<TcpListener> {
        let socket = self.socket(host, Instant::now() + PATIENCE)?;
        let address = SocketAddrV4::new(host, port);
        bind(socket.as_raw_fd(), &SockaddrIn::from(address))
            .and_then(|()| listen(&socket, Backlog::MAXCONN))
            .with_context(|| format!("cannot listen on {address}"))?;
        Ok(TcpListener::from(socket))
    }

    fn socket(&self, address: Ipv4Addr, deadline: Instant) -> Result<OwnedFd> {
        let request = StageRequest::Socket { index: Link::of_address(address)?.index() };
        let (_, fds) = self.asking.ask(deadline, &request, &[]).context("cannot make a socket")?;
        fds.into_iter().next().context("the stage sent no socket")
    }
}
