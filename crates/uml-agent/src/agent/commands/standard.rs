//! The standard streams of a command: pipes, or a terminal.

use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::pty::{Winsize, openpty};
use uml_protocol::commands::{self, TerminalSize};
use uml_protocol::wire::Stream;

nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, Winsize);
nix::ioctl_write_int_bad!(take_terminal, libc::TIOCSCTTY);

/// Our ends.
pub struct Standard {
    pub input: File,
    pub outputs: Vec<(Stream, File)>,
    pub terminal: Option<Terminal>,
}

impl Standard {
    /// Our ends, and those of the command: standard input, output and error.
    pub fn open(terminal: Option<&commands::Terminal>) -> Result<(Self, [OwnedFd; 3])> {
        match terminal {
            Some(terminal) => on_terminal(terminal.size).context("cannot make a terminal"),
            None => on_pipes().context("cannot make a pipe"),
        }
    }
}

fn on_pipes() -> Result<(Standard, [OwnedFd; 3])> {
    let (stdin, input) = std::io::pipe()?;
    let (output, stdout) = std::io::pipe()?;
    let (error, stderr) = std::io::pipe()?;
    let file = |fd: std::io::PipeReader| File::from(OwnedFd::from(fd));
    let outputs = vec![(Stream::Stdout, file(output)), (Stream::Stderr, file(error))];
    let ours = Standard { input: OwnedFd::from(input).into(), outputs, terminal: None };
    Ok((ours, [stdin.into(), stdout.into(), stderr.into()]))
}

fn on_terminal(size: TerminalSize) -> Result<(Standard, [OwnedFd; 3])> {
    let pty = openpty(&winsize(size), None)?;
    for end in [&pty.master, &pty.slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    let ours = File::from(pty.master);
    let outputs = vec![(Stream::Stdout, ours.try_clone()?)];
    let terminal = Some(Terminal(ours.try_clone()?));
    let theirs = [pty.slave.try_clone()?, pty.slave.try_clone()?, pty.slave];
    Ok((Standard { input: ours, outputs, terminal }, theirs))
}

/// The terminal of a command.
pub struct Terminal(File);

impl Terminal {
    /// Tells the command of a new size.
    pub fn resize(&self, size: TerminalSize) {
        // SAFETY: TIOCSWINSZ reads a whole `winsize`, and this is one. A terminal that is gone needs none.
        let _ = unsafe { set_size(self.0.as_raw_fd(), &winsize(size)) };
    }
}

fn winsize(TerminalSize { rows, columns }: TerminalSize) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
