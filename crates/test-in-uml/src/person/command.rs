//! A command in a guest, between its standard streams and ours.

use std::io::{IsTerminal as _, PipeWriter, Read as _, Write as _, stdin};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, poll};
use socket2::Socket;
use uml_protocol::commands::{
    Command, FromCommand, Request, Terminal, TerminalSize, ToCommand, WINDOW,
};
use uml_protocol::wire::{self, CHUNK, ProcessEnd, Stream, receive};

use super::ask::{Connection, request};
use super::name::GuestName;
use super::shell::{Escape, RawMode, give_back, our_size};
use crate::cancel;
use crate::ctx::Ctx;
use crate::threads;

/// How often, in milliseconds, we look whether the terminal has another size and whether we are asked to stop.
const PERIOD: u8 = 100;

/// How a command ended, for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself or by a signal.
    Process(ProcessEnd),
    /// The person left it.
    Left,
    /// Nobody reads any more what it writes.
    Unread,
}

impl Ended {
    /// The exit code that says the same, as shells have it.
    pub fn exit_code(self) -> u8 {
        let of_signal = |signal: i32| u8::try_from(128 + signal).unwrap_or(u8::MAX);
        match self {
            Ended::Process(ProcessEnd::Code(code)) => u8::try_from(code).unwrap_or(u8::MAX),
            Ended::Process(ProcessEnd::Signal(signal)) => of_signal(signal),
            Ended::Process(ProcessEnd::TimedOut) => u8::MAX,
            Ended::Left => of_signal(libc::SIGHUP),
            Ended::Unread => of_signal(libc::SIGPIPE),
        }
    }
}

/// Runs a command in a guest as root. It gets a terminal if we have one.
///
/// # Errors
/// When it cannot be started, or the guest is gone before it has ended.
pub fn run_command(ctx: &Ctx, name: &GuestName, argv: Vec<String>) -> Result<Ended> {
    let size = terminal_size().filter(|_| std::io::stdout().is_terminal());
    let terminal = size.map(|size| Terminal {
        kind: std::env::var("TERM").unwrap_or_else(|_| "dumb".into()),
        size,
    });
    let has_terminal = terminal.is_some();
    let connection = request(&ctx.layout, name, &Request::Run(Command { argv, terminal }))?;
    let raw = if has_terminal {
        cancel::before_exit(give_back);
        RawMode::enter()?
    } else {
        None
    };
    let ended = Running::begin(connection, has_terminal)?.run();
    if let Some(raw) = raw {
        raw.leave()?;
    }
    ended
}

/// The size of our terminal, if we have one.
fn terminal_size() -> Option<TerminalSize> {
    our_size().map(|size| TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// A command that runs. What it writes is passed on by a thread, what it reads by [`Running::run`].
struct Running {
    connection: Connection,
    /// Bytes that the guest still takes.
    room: Arc<AtomicUsize>,
    /// Says that there is room again, and ends with the command.
    wakes: std::io::PipeReader,
    reader: std::thread::JoinHandle<Result<Ended>>,
    /// The escape of a person at a terminal.
    escape: Option<Escape>,
    size: Option<TerminalSize>,
    input_is_over: bool,
    asked_to_stop: bool,
}

impl Running {
    fn begin(connection: Connection, has_terminal: bool) -> Result<Self> {
        let room = Arc::new(AtomicUsize::new(WINDOW));
        let (wakes, wake) = std::io::pipe().context("cannot make a pipe")?;
        let (theirs, gets) =
            (connection.socket.try_clone().context("cannot share a connection")?, room.clone());
        let reader = threads::spawn(move || pass_on(theirs, &gets, wake))?;
        Ok(Self {
            connection,
            room,
            wakes,
            reader,
            escape: has_terminal.then(Escape::default),
            size: None,
            input_is_over: false,
            asked_to_stop: false,
        })
    }

    fn run(mut self) -> Result<Ended> {
        let left = loop {
            let (woken, typed) = self.wait()?;
            if woken && self.is_over()? {
                break false;
            }
            if self.connection.holder.is_gone() {
                // Nobody else says so.
                break false;
            }
            self.follow_size();
            self.follow_signals();
            if typed && self.pass_input()? {
                break true;
            }
        };
        // The reader ends with the connection.
        let _ = self.connection.socket.shutdown(Shutdown::Both);
        let ended = self.reader.join().unwrap_or_else(|_| bail!("a thread of ours panicked"));
        if left { Ok(Ended::Left) } else { ended }
    }

    /// Waits for input that there is room for, and for news.
    fn wait(&self) -> Result<(bool, bool)> {
        let stdin = stdin();
        let mut fds = vec![PollFd::new(self.wakes.as_fd(), PollFlags::POLLIN)];
        if !self.input_is_over && self.room.load(Ordering::SeqCst) > 0 {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PERIOD) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot wait for a command"),
        }
        let of = |index: usize| fds.get(index).and_then(PollFd::any).unwrap_or_default();
        Ok((of(0), of(1)))
    }

    fn is_over(&mut self) -> Result<bool> {
        Ok(self.wakes.read(&mut [0; 256]).context("cannot hear of a command's end")? == 0)
    }

    fn follow_size(&mut self) {
        if self.escape.is_none() {
            return;
        }
        let now = terminal_size();
        if let Some(size) = now.filter(|_| now != self.size) {
            self.say(&ToCommand::Resize(size));
            self.size = now;
        }
    }

    /// Passes on that we are asked to stop; a second request ends us at once.
    fn follow_signals(&mut self) {
        if cancel::requested() && !self.asked_to_stop {
            self.asked_to_stop = true;
            self.say(&ToCommand::Signal(libc::SIGINT));
        }
    }

    /// Passes on what was typed; true when the person leaves.
    fn pass_input(&mut self) -> Result<bool> {
        let mut bytes = vec![0; CHUNK.min(self.room.load(Ordering::SeqCst))];
        // Not by `Stdin`: what lay in its buffer would be no reason to wake up.
        let count = match nix::unistd::read(stdin(), &mut bytes) {
            Err(Errno::EINTR | Errno::EAGAIN) => return Ok(false),
            Ok(0) | Err(_) => {
                self.input_is_over = true;
                self.say(&ToCommand::InputOver);
                return Ok(false);
            }
            Ok(count) => count,
        };
        bytes.truncate(count);
        let mut quit = false;
        if let Some(escape) = &mut self.escape {
            let typed = escape.take(&bytes);
            (bytes, quit) = (typed.pass, typed.quit);
        }
        if !bytes.is_empty() {
            self.room.fetch_sub(bytes.len(), Ordering::SeqCst);
            self.say(&ToCommand::Input(bytes));
        }
        Ok(quit)
    }

    /// A guest that is gone says so by the other way.
    fn say(&mut self, message: &ToCommand) {
        let _ = wire::send(&mut self.connection.socket, message);
    }
}

/// Writes what the command writes, and tells of its end.
fn pass_on(mut socket: Socket, room: &AtomicUsize, mut wake: PipeWriter) -> Result<Ended> {
    loop {
        match receive(&mut socket).context("the guest cannot be understood")? {
            Some(FromCommand::Taken(count)) => {
                room.fetch_add(count, Ordering::SeqCst);
                // Nobody may wait any more.
                let _ = wake.write_all(&[0]);
            }
            Some(FromCommand::Output { stream, bytes }) => {
                if write_out(stream, &bytes).is_err() {
                    return Ok(Ended::Unread);
                }
            }
            Some(FromCommand::Ended(end)) => return Ok(Ended::Process(end)),
            Some(FromCommand::Failed(why)) => bail!("in the guest: {why}"),
            None => bail!("the guest is gone"),
        }
    }
}

fn write_out(stream: Stream, bytes: &[u8]) -> std::io::Result<()> {
    match stream {
        Stream::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Stderr => std::io::stderr().write_all(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_ends_for_us_as_in_a_shell() {
        assert_eq!(Ended::Process(ProcessEnd::Code(0)).exit_code(), 0);
        assert_eq!(Ended::Process(ProcessEnd::Code(255)).exit_code(), 255);
        assert_eq!(Ended::Process(ProcessEnd::Signal(9)).exit_code(), 137);
        assert_eq!(Ended::Unread.exit_code(), 141);
    }
}
