//! The peer on the host end of a guest's link, which network tests talk to.
//!
//! One request a connection, one ASCII line:
//! - `sink N`: N bytes follow; the answer is their SHA-256 in hexadecimal and a newline.
//! - `discard N`: N bytes follow; the answer is their number and a newline.
//! - `source N SEED`: the answer is N bytes, those of the blocks that belong to `SEED`.
//! - `echo`: what follows comes back, until one side ends.
//! - `lab VERSION TOKEN`: the connection is that of a scenario from then on ([`uml_protocol::lab`]).

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use socket2::Socket;
use uml_protocol::bulk;
use uml_protocol::lab::GREETING;

use crate::stage::Listener;
use crate::store::hex;
use crate::threads;

/// A guest that says nothing for this long is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many connections of a guest are served at once, each in a thread. More of them wait in the listener's
/// queue: a guest must not have us start threads without end.
const AT_ONCE: usize = 16;

/// A peer that serves in threads of its own. Dropping it ends that.
#[derive(Debug)]
pub struct Peer {
    listener: Arc<Listener>,
    serving: Arc<Serving>,
}

/// The connections that are being served.
#[derive(Debug, Default)]
struct Serving {
    streams: Mutex<Streams>,
    fewer: Condvar,
    lab: Mutex<Option<LabDoor>>,
}

/// Who gets the connections of scenarios, and the token that they begin with.
#[derive(Debug)]
struct LabDoor {
    token: String,
    connections: Sender<Socket>,
}

#[derive(Debug, Default)]
struct Streams {
    open: BTreeMap<u64, Socket>,
    over: bool,
}

impl Peer {
    /// Serves whoever connects to this listener.
    ///
    /// # Errors
    /// When there can be no thread for it.
    pub fn start(listener: Listener) -> Result<Self> {
        let listener = Arc::new(listener);
        let ours = Arc::clone(&listener);
        let serving = Arc::new(Serving::default());
        let shared = Arc::clone(&serving);
        threads::spawn(move || accept(&listener, &shared))?;
        Ok(Self { listener: ours, serving })
    }

    /// Gives connections that begin with this token to whoever receives them.
    pub fn open_lab(&self, token: &str, connections: Sender<Socket>) {
        *self.serving.lab() = Some(LabDoor { token: token.into(), connections });
    }

    /// Refuses them again.
    pub fn close_lab(&self) {
        *self.serving.lab() = None;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.listener.close();
        let mut streams = self.serving.lock();
        streams.over = true;
        for stream in streams.open.values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        self.serving.fewer.notify_all();
    }
}

impl Serving {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lab(&self) -> MutexGuard<'_, Option<LabDoor>> {
        self.lab.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a connection on, if its token is that of the case that runs.
    fn pass_on(&self, token: &str, stream: &Socket) -> Result<()> {
        if let Some(door) = &*self.lab()
            && door.token == token
        {
            let stream = stream.try_clone().context("cannot share a connection")?;
            stream.set_read_timeout(None)?;
            // Who does not receive any more has ended the scenario.
            let _ = door.connections.send(stream);
        }
        Ok(())
    }

    /// Waits until there is room for one more connection; false when there will be none.
    fn has_room(&self) -> bool {
        let full = |streams: &mut Streams| streams.open.len() >= AT_ONCE && !streams.over;
        let streams = self.fewer.wait_while(self.lock(), full);
        !streams.unwrap_or_else(PoisonError::into_inner).over
    }
}

fn accept(listener: &Listener, serving: &Arc<Serving>) {
    let mut number = 0;
    while serving.has_room() {
        match listener.accept() {
            Ok(stream) => {
                number += 1;
                // A guest that gets no answer fails its own test.
                let _ = serve_apart(stream, number, serving);
            }
            // It was shut down.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return,
            // The connection failed already (accept(2)), or there is no room for it yet.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn serve_apart(stream: Socket, number: u64, serving: &Arc<Serving>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let twin = stream.try_clone()?;
    {
        let mut streams = serving.lock();
        anyhow::ensure!(!streams.over, "the peer is gone");
        streams.open.insert(number, twin);
    }
    let shared = Arc::clone(serving);
    let done = move || {
        shared.lock().open.remove(&number);
        shared.fewer.notify_all();
    };
    let started = threads::spawn({
        let (done, serving) = (done.clone(), Arc::clone(serving));
        move || {
            // A guest that breaks off is its test's business.
            let _ = request(&stream).map(|line| match line.split_once(' ') {
                Some((GREETING, token)) => drop(serving.pass_on(token, &stream)),
                _ => drop(serve(&line, &stream, &stream)),
            });
            drop(stream);
            done();
        }
    });
    if started.is_err() {
        done();
    }
    started.map(drop)
}

/// The longest request, in bytes.
const LONGEST: usize = 100;

/// The line that a connection begins with, and nothing of what comes after it.
///
/// # Errors
/// When it is too long, or the connection breaks.
pub fn request(mut from: impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LONGEST {
        from.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return String::from_utf8(line)
                .map_err(|error| Error::new(ErrorKind::InvalidData, error));
        }
        line.extend(byte);
    }
    Err(Error::new(ErrorKind::InvalidData, "not a request of ours"))
}

/// Serves one connection, which began with this request.
///
/// # Errors
/// When the request is not one of ours, or the connection breaks.
pub fn serve(line: &str, from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut from = BufReader::with_capacity(256 << 10, from);
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["sink", count] => {
            let mut hasher = Sha256::new();
            let mut left = number(count)?;
            while left > 0 {
                let bytes = from.fill_buf()?;
                let some = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                if some == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                hasher.update(&bytes[..some]);
                from.consume(some);
                left -= some as u64;
            }
            writeln!(to, "{}", hex(&hasher.finalize()))
        }
        ["discard", count] => {
            let taken = io::copy(&mut from.take(number(count)?), &mut io::sink())?;
            writeln!(to, "{taken}")
        }
        ["source", count, seed] => {
            let (mut left, seed) = (number(count)?, number(seed)?);
            for block in bulk::blocks(seed) {
                let some = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                to.write_all(&block[..some])?;
                left -= some as u64;
                if left == 0 {
                    break;
                }
            }
            to.flush()
        }
        ["echo"] => {
            let mut buffer = [0; 64 << 10];
            loop {
                match from.read(&mut buffer)? {
                    0 => return Ok(()),
                    count => to.write_all(&buffer[..count])?,
                }
            }
        }
        _ => Err(Error::new(ErrorKind::InvalidData, "not a request of ours")),
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|error| Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests;
