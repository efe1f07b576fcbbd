//! The host's end of a link that has no tap: TCP, ARP and ping by smoltcp, in a thread of ours.
//!
//! Whoever connects or listens here has one end of a pair of Unix sockets; the thread moves bytes between the other
//! end and the TCP connection.

use std::io;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use socket2::Socket;

use super::interface_end::{InterfaceEnd, poll_timeout};
use crate::threads;

mod connection;
mod frames;

use connection::{Connection, Progress};
use frames::Frames;

/// How many connections of a guest are taken at once to one port; more of them try again (the guest's kernel sends
/// its request anew).
const BACKLOG: usize = 8;

/// A port that we connect from is one of these (RFC 6335).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 49152..=65535;

/// The host's end of a link. Dropping it ends its thread and all connections.
#[derive(Debug)]
pub(super) struct HostStack(Orders);

/// Where the thread takes orders.
#[derive(Debug)]
struct Orders {
    queue: Sender<Order>,
    wake: PipeWriter,
}

impl Orders {
    fn give(&self, order: Order) -> Result<()> {
        self.queue.send(order).ok().context(GONE)?;
        (&self.wake).write_all(&[0]).context(GONE)
    }

    fn share(&self) -> Result<Self> {
        let wake = self.wake.try_clone().context("cannot share a pipe")?;
        Ok(Self { queue: self.queue.clone(), wake })
    }
}

/// What is asked of the thread.
#[derive(Debug)]
enum Order {
    Connect { port: u16, reply: Sender<Result<Socket>> },
    Listen { port: u16, accepted: Sender<Socket>, listens: Sender<()> },
    Close { port: u16 },
    End,
}

/// Who is at the two ends of a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// Our own address, the length of its prefix, and our hardware address.
    pub own: Ipv4Addr,
    pub prefix: u8,
    pub hardware: [u8; 6],
    /// That of the guest.
    pub guest: Ipv4Addr,
    /// The longest packet that both take.
    pub mtu: usize,
}

impl HostStack {
    /// Starts it on the host's end of a link's interface.
    ///
    /// # Errors
    /// When there can be no thread for it.
    pub fn start(ends: Ends, end: InterfaceEnd) -> Result<Self> {
        let (queue, inbox) = channel();
        let (woken, wake) = io::pipe().context("cannot make a pipe")?;
        let stack = Stack::new(ends, Frames::new(end, ends.mtu));
        threads::spawn(move || stack.run(&inbox, woken))?;
        Ok(Self(Orders { queue, wake }))
    }

    /// Connects to a port of the guest.
    ///
    /// # Errors
    /// When nobody answers within `timeout`.
    pub fn connect(&self, port: u16, timeout: Duration) -> Result<Socket> {
        let (reply, answer) = channel();
        self.0.give(Order::Connect { port, reply })?;
        match answer.recv_timeout(timeout) {
            Ok(connected) => connected,
            Err(RecvTimeoutError::Timeout) => bail!("no answer within {timeout:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!(GONE),
        }
    }

    /// Listens on a port.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn listen(&self, port: u16) -> Result<StackListener> {
        let (accepted, inbox) = channel();
        let (listens, done) = channel();
        self.0.give(Order::Listen { port, accepted, listens })?;
        done.recv().ok().context(GONE)?;
        Ok(StackListener { accepted: Mutex::new(inbox), port, orders: self.0.share()? })
    }
}

impl Drop for HostStack {
    fn drop(&mut self) {
        // A thread that is gone has ended.
        let _ = self.0.give(Order::End);
    }
}

const GONE: &str = "the host's end of the link is gone";

/// A port of the host's end on which connections are taken.
#[derive(Debug)]
pub struct StackListener {
    accepted: Mutex<Receiver<Socket>>,
    port: u16,
    orders: Orders,
}

impl StackListener {
    /// The next connection; an error once there will be none.
    pub(super) fn accept(&self) -> io::Result<Socket> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.recv().map_err(|_| io::ErrorKind::InvalidInput.into())
    }

    /// Takes none any more.
    pub(super) fn close(&self) {
        // A thread that is gone takes none either.
        let _ = self.orders.give(Order::Close { port: self.port });
    }
}

/// A port with those who may connect to it.
struct Listening {
    port: u16,
    accepted: Sender<Socket>,
}

/// What the thread knows.
struct Stack {
    interface: Interface,
    frames: Frames,
    guest: Ipv4Addr,
    sockets: SocketSet<'static>,
    connections: Vec<Connection>,
    listening: Vec<Listening>,
    next_port: u16,
}

impl Stack {
    fn new(ends: Ends, mut frames: Frames) -> Self {
        let hardware = HardwareAddress::Ethernet(EthernetAddress(ends.hardware));
        let mut config = Config::new(hardware);
        config.random_seed = fastrand::u64(..);
        let mut interface = Interface::new(config, &mut frames, Instant::now());
        interface.update_ip_addrs(|addresses| {
            // There is room for two.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(ends.own), ends.prefix));
        });
        Self {
            interface,
            frames,
            guest: ends.guest,
            sockets: SocketSet::new(Vec::new()),
            connections: Vec::new(),
            listening: Vec::new(),
            next_port: *EPHEMERAL.start(),
        }
    }

    /// Serves until it is told to end.
    fn run(mut self, orders: &Receiver<Order>, mut woken: PipeReader) {
        loop {
            self.interface.poll(Instant::now(), &mut self.frames, &mut self.sockets);
            if self.move_bytes() {
                // What was moved makes room, or more to send.
                continue;
            }
            let delay = self.interface.poll_delay(Instant::now(), &self.sockets);
            if self.wait(woken.as_fd(), delay.map(Into::into)) {
                let is_over = woken.read(&mut [0; 64]).is_ok_and(|count| count == 0);
                if is_over || !orders.try_iter().all(|order| self.obey(order)) {
                    return;
                }
            }
        }
    }

    /// Waits until there is something to do; whether it is an order.
    fn wait(&mut self, woken: BorrowedFd<'_>, delay: Option<Duration>) -> bool {
        self.frames.watch_room();
        let mut fds = vec![
            PollFd::new(woken, PollFlags::POLLIN),
            PollFd::new(self.frames.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(
            self.connections.iter().filter_map(|connection| connection.waits(&self.sockets)),
        );
        let _ = poll(&mut fds, delay.map_or(PollTimeout::NONE, poll_timeout));
        fds[0].revents().is_some_and(|events| !events.is_empty())
    }

    /// Does what is asked; false when that is to end.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::End => return false,
            Order::Connect { port, reply } => {
                let own = self.free_port();
                let context = self.interface.context();
                match Connection::connect(context, &mut self.sockets, (self.guest, port), own) {
                    Ok(connection) => self.connections.push(connection.told(reply)),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Order::Listen { port, accepted, listens } => {
                let waiting = (0..BACKLOG).map(|_| Connection::listen(&mut self.sockets, port));
                self.connections.extend(waiting.filter_map(Result::ok));
                self.listening.push(Listening { port, accepted });
                // Who does not wait for that needs not be told.
                let _ = listens.send(());
            }
            Order::Close { port } => {
                self.listening.retain(|listening| listening.port != port);
                let (closed, others) = std::mem::take(&mut self.connections)
                    .into_iter()
                    .partition(|connection| connection.waits_on() == Some(port));
                self.connections = others;
                let closed: Vec<Connection> = closed;
                closed.iter().for_each(|connection| connection.forget(&mut self.sockets));
            }
        }
        true
    }

    fn free_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(*EPHEMERAL.start());
        port
    }

    /// Moves bytes of all connections; whether any moved.
    fn move_bytes(&mut self) -> bool {
        let mut moved = false;
        let mut left = Vec::with_capacity(self.connections.len());
        for mut connection in std::mem::take(&mut self.connections) {
            match connection.advance(&mut self.sockets) {
                Progress::Moved => moved = true,
                Progress::Waits => {}
                Progress::Accepted { port, socket } => {
                    moved = true;
                    let listening = self.listening.iter().find(|listening| listening.port == port);
                    if listening.is_some_and(|listening| listening.accepted.send(socket).is_ok()) {
                        left.extend(Connection::listen(&mut self.sockets, port).ok());
                    }
                }
                Progress::Over => {
                    moved = true;
                    connection.forget(&mut self.sockets);
                    continue;
                }
            }
            left.push(connection);
        }
        self.connections = left;
        moved
    }
}

#[cfg(test)]
mod tests;
