//! One TCP connection with a guest, and the Unix socket of whoever has it on our side.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Shutdown};
use std::os::fd::AsFd as _;
use std::sync::mpsc::Sender;

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags};
use smoltcp::iface::{Context, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{self, SocketBuffer, State};
use smoltcp::wire::{IpAddress, IpEndpoint};
use socket2::{Domain, Socket, Type};

/// Bytes on their way, in each direction.
const BUFFER: usize = 512 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    handle: SocketHandle,
    side: Side,
}

/// Who has it on our side.
#[derive(Debug)]
enum Side {
    /// Nobody yet: the guest has not answered.
    Asked(Option<Sender<Result<Socket>>>),
    /// Nobody yet: no guest has connected to this port.
    Waiting(u16),
    /// Whoever has the other end of this socket.
    Open(OpenSide),
}

#[derive(Debug)]
struct OpenSide {
    socket: Socket,
    /// Whoever it is says no more.
    said_all: bool,
    /// The guest says no more, and was heard to its end.
    heard_all: bool,
    /// Nobody has the other end any more; the guest is told at the next turn.
    aborted: bool,
}

/// What a connection did.
#[derive(Debug)]
pub(super) enum Progress {
    /// Bytes moved.
    Moved,
    /// None can.
    Waits,
    /// A guest has connected to this port; this is for whoever listens there.
    Accepted { port: u16, socket: Socket },
    /// It is over.
    Over,
}

impl Connection {
    /// Asks the guest for a connection.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn connect(
        context: &mut Context,
        sockets: &mut SocketSet<'static>,
        (address, port): (Ipv4Addr, u16),
        own: u16,
    ) -> Result<Self> {
        let mut socket = new_socket();
        let remote = IpEndpoint::new(IpAddress::Ipv4(address), port);
        let asked = socket.connect(context, remote, own);
        asked.map_err(|error| anyhow::anyhow!("cannot connect: {error}"))?;
        Ok(Self { handle: sockets.add(socket), side: Side::Asked(None) })
    }

    /// Tells this of the connection, or of its failure.
    pub fn told(self, reply: Sender<Result<Socket>>) -> Self {
        Self { side: Side::Asked(Some(reply)), ..self }
    }

    /// Waits for a guest to connect to this port.
    ///
    /// # Errors
    /// When there is no such port.
    pub fn listen(sockets: &mut SocketSet<'static>, port: u16) -> Result<Self> {
        let mut socket = new_socket();
        let listens = socket.listen(port);
        listens.map_err(|error| anyhow::anyhow!("cannot listen on port {port}: {error}"))?;
        Ok(Self { handle: sockets.add(socket), side: Side::Waiting(port) })
    }

    /// The port that it waits on for a guest.
    pub fn waits_on(&self) -> Option<u16> {
        if let Side::Waiting(port) = self.side { Some(port) } else { None }
    }

    /// Removes what smoltcp knows of it.
    pub fn forget(&self, sockets: &mut SocketSet<'static>) {
        sockets.remove(self.handle);
    }

    /// What is to be waited for on our side of it.
    pub fn waits(&self, sockets: &SocketSet<'static>) -> Option<PollFd<'_>> {
        let Side::Open(OpenSide { socket, said_all, .. }) = &self.side else { return None };
        let tcp = sockets.get::<tcp::Socket<'_>>(self.handle);
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, tcp.can_send() && !said_all);
        events.set(PollFlags::POLLOUT, tcp.can_recv());
        (!events.is_empty()).then(|| PollFd::new(socket.as_fd(), events))
    }

    /// Moves bytes for as long as some can be.
    pub fn advance(&mut self, sockets: &mut SocketSet<'static>) -> Progress {
        let tcp = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        match &mut self.side {
            Side::Open(side) => side.advance(tcp),
            Side::Asked(reply) if tcp.may_send() => {
                let pair = pair();
                let reply = reply.take();
                let (ours, theirs) = match pair {
                    Ok(pair) => pair,
                    Err(error) => {
                        let _ = reply.map(|reply| reply.send(Err(error)));
                        return Progress::Over;
                    }
                };
                // Who does not wait any more lets the connection end.
                let _ = reply.map(|reply| reply.send(Ok(theirs)));
                self.side = Side::open(ours);
                Progress::Moved
            }
            Side::Asked(reply) if !tcp.is_open() => {
                let refused = || Err(anyhow::anyhow!("the connection was refused"));
                let _ = reply.take().map(|reply| reply.send(refused()));
                Progress::Over
            }
            &mut Side::Waiting(port) if tcp.may_send() => match pair() {
                Ok((ours, socket)) => {
                    self.side = Side::open(ours);
                    Progress::Accepted { port, socket }
                }
                Err(_) => Progress::Over,
            },
            &mut Side::Waiting(port) if !tcp.is_open() => {
                // A guest thought better of it.
                let _ = tcp.listen(port);
                Progress::Waits
            }
            Side::Asked(_) | Side::Waiting(_) => Progress::Waits,
        }
    }
}

impl Side {
    fn open(socket: Socket) -> Self {
        Self::Open(OpenSide { socket, said_all: false, heard_all: false, aborted: false })
    }
}

impl OpenSide {
    fn advance(&mut self, tcp: &mut tcp::Socket<'_>) -> Progress {
        // What the guest has sent stays unheard.
        if self.aborted {
            return Progress::Over;
        }
        let moved = self.hear(tcp) | self.say(tcp);
        match tcp.state() {
            State::Closed | State::TimeWait if !tcp.can_recv() && !self.aborted => Progress::Over,
            _ if moved => Progress::Moved,
            _ => Progress::Waits,
        }
    }

    /// What the guest says.
    fn hear(&mut self, tcp: &mut tcp::Socket<'_>) -> bool {
        let mut moved = false;
        while tcp.can_recv() {
            let taken = tcp.recv(|bytes| match self.socket.send(bytes) {
                Ok(count) => (count, Ok(())),
                Err(error) => (0, Err(error.kind())),
            });
            match taken {
                Ok(Ok(())) => moved = true,
                Ok(Err(ErrorKind::Interrupted)) => {}
                Ok(Err(ErrorKind::WouldBlock)) => return moved,
                // Nobody hears it.
                _ => {
                    self.aborted = true;
                    tcp.abort();
                    return true;
                }
            }
        }
        if !tcp.may_recv() && !self.heard_all {
            self.heard_all = true;
            let _ = self.socket.shutdown(Shutdown::Write);
            moved = true;
        }
        moved
    }

    /// What is said to the guest.
    fn say(&mut self, tcp: &mut tcp::Socket<'_>) -> bool {
        let mut moved = false;
        while tcp.can_send() && !self.said_all {
            let taken = tcp.send(|room| match (&self.socket).read_some(room) {
                Ok(count) => (count, Ok(count)),
                Err(error) => (0, Err(error.kind())),
            });
            match taken {
                Ok(Ok(0)) | Err(_) => {
                    self.said_all = true;
                    tcp.close();
                    moved = true;
                }
                Ok(Ok(_)) => moved = true,
                Ok(Err(ErrorKind::Interrupted)) => {}
                Ok(Err(ErrorKind::WouldBlock)) => return moved,
                Ok(Err(_)) => {
                    self.aborted = true;
                    tcp.abort();
                    return true;
                }
            }
        }
        moved
    }
}

trait ReadSome {
    fn read_some(self, room: &mut [u8]) -> std::io::Result<usize>;
}

impl ReadSome for &Socket {
    fn read_some(mut self, room: &mut [u8]) -> std::io::Result<usize> {
        std::io::Read::read(&mut self, room)
    }
}

fn new_socket() -> tcp::Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket
}

/// Our end of a connection, which does not block, and that of whoever has it.
fn pair() -> Result<(Socket, Socket)> {
    let (ours, theirs) =
        Socket::pair(Domain::UNIX, Type::STREAM, None).context("cannot make a pair of sockets")?;
    ours.set_nonblocking(true).context("cannot set up a socket")?;
    Ok((ours, theirs))
}
