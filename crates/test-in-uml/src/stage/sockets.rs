//! Connections with guests, for whoever is outside of the stage.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use socket2::{SockAddr, Socket};

use super::asking::PATIENCE;
use super::channel::StageRequest;
use super::host_stack::{HostStack, StackListener};
use super::{Attachment, Link, Stage};

/// More connections than this do not wait for being accepted (listen(2)).
const BACKLOG: i32 = 128;

/// Where connections of a guest are taken.
#[derive(Debug)]
pub enum Listener {
    /// A socket of the host's kernel.
    Kernel(Socket),
    /// A port of a link whose other end is in our own process.
    Stack(StackListener),
}

impl Listener {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] after [`Listener::close`].
    pub fn accept(&self) -> io::Result<Socket> {
        match self {
            Listener::Kernel(socket) => socket.accept().map(|(stream, _)| stream),
            Listener::Stack(listener) => listener.accept(),
        }
    }

    /// Takes no connection any more; who waits for one has an error.
    pub fn close(&self) {
        match self {
            // Linux has accept(2) come back then.
            Listener::Kernel(socket) => drop(socket.shutdown(Shutdown::Both)),
            Listener::Stack(listener) => listener.close(),
        }
    }
}

impl Stage {
    /// Connects to an address on the stage. A socket of the host's kernel is made there and stays there, so that the
    /// stream works like any other.
    ///
    /// # Errors
    /// When nobody answers within `timeout`.
    pub fn connect(&self, address: SocketAddrV4, timeout: Duration) -> Result<Socket> {
        let deadline = Instant::now() + timeout;
        let what = || format!("cannot connect to {address}");
        if self.attachment == Attachment::Socket {
            return self
                .host_stack(*address.ip())?
                .connect(address.port(), timeout)
                .with_context(what);
        }
        let socket = self.socket(*address.ip(), deadline)?;
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.connect_timeout(&SockAddr::from(address), left).with_context(what)?;
        socket.set_tcp_nodelay(true).context("cannot set up a connection")?;
        Ok(socket)
    }

    /// Listens on the host end of a link.
    ///
    /// # Errors
    /// When the address is not of this stage, or its port is taken.
    pub fn listen(&self, host: Ipv4Addr, port: u16) -> Result<Listener> {
        if self.attachment == Attachment::Socket {
            return Ok(Listener::Stack(self.host_stack(host)?.listen(port)?));
        }
        let socket = self.socket(host, Instant::now() + PATIENCE)?;
        let address = SocketAddrV4::new(host, port);
        socket
            .bind(&SockAddr::from(address))
            .and_then(|()| socket.listen(BACKLOG))
            .with_context(|| format!("cannot listen on {address}"))?;
        Ok(Listener::Kernel(socket))
    }

    fn socket(&self, address: Ipv4Addr, deadline: Instant) -> Result<Socket> {
        let request = StageRequest::Socket { index: Link::index_of(address)? };
        let (_, fds) = self.asking.ask(deadline, &request, &[]).context("cannot make a socket")?;
        let socket: OwnedFd = fds.into_iter().next().context("the stage sent no socket")?;
        Ok(Socket::from(socket))
    }

    /// The host's end of the link with this address.
    fn host_stack(&self, address: Ipv4Addr) -> Result<Arc<HostStack>> {
        let index = Link::index_of(address)?;
        self.host_stacks().get(&index).cloned().context("there is no such link")
    }
}
