//! The bytes that a command reads and writes.

use std::fs::File;
use std::io::{PipeReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::mpsc::Receiver;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use uml_protocol::commands::FromCommand;
use uml_protocol::wire::{CHUNK, Stream};

use super::Host;

/// Gives a command the input that arrives, and tells the host that it was taken.
pub fn write_input(mut to: File, arrived: &Receiver<Vec<u8>>, host: &Host) {
    for bytes in arrived {
        // A command need not read what it is given.
        let _ = to.write_all(&bytes);
        if host.say(&FromCommand::Taken(bytes.len())).is_err() {
            return;
        }
    }
}

/// Sends the host what comes from a stream until the stream ends, or the command is over and nothing more is there:
/// what it left running may hold the stream for ever.
pub fn forward(stream: Stream, mut from: File, over: &PipeReader, host: &Host) {
    let mut bytes = vec![0; CHUNK];
    loop {
        let mut fds = [
            PollFd::new(from.as_fd(), PollFlags::POLLIN),
            PollFd::new(over.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => return,
        }
        if fds[0].revents().is_none_or(|events| events.is_empty()) {
            return;
        }
        // A terminal that nobody holds any more says EIO (pty(7)).
        let Ok(count @ 1..) = from.read(&mut bytes) else { return };
        let output = FromCommand::Output { stream, bytes: bytes[..count].to_vec() };
        if host.say(&output).is_err() {
            return;
        }
    }
}
