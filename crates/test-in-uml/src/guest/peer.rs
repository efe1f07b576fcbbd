//! The peer on the host end of a guest's link, which network tests talk to.
//!
//! One request a connection, one ASCII line:
//! - `sink N`: N bytes follow; the answer is their SHA-256 in hexadecimal and a newline.
//! - `source N SEED`: the answer is N bytes, those of the blocks that belong to `SEED`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::socket::{Shutdown, shutdown};
use sha2::{Digest as _, Sha256};
use uml_protocol::bulk;

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
    listener: TcpListener,
    serving: Arc<Serving>,
}

/// The connections that are being served.
#[derive(Debug, Default)]
struct Serving {
    streams: Mutex<Streams>,
    fewer: Condvar,
}

#[derive(Debug, Default)]
struct Streams {
    open: BTreeMap<u64, TcpStream>,
    over: bool,
}

impl Peer {
    /// Serves whoever connects to this listener.
    ///
    /// # Errors
    /// When the listener cannot be shared.
    pub fn start(listener: TcpListener) -> Result<Self> {
        let ours = listener.try_clone().context("cannot share a listener")?;
        let serving = Arc::new(Serving::default());
        let shared = Arc::clone(&serving);
        threads::spawn(move || accept(&listener, &shared))?;
        Ok(Self { listener: ours, serving })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Linux has accept(2) come back then.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
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

    /// Waits until there is room for one more connection; false when there will be none.
    fn has_room(&self) -> bool {
        let full = |streams: &mut Streams| streams.open.len() >= AT_ONCE && !streams.over;
        let streams = self.fewer.wait_while(self.lock(), full);
        !streams.unwrap_or_else(PoisonError::into_inner).over
    }
}

fn accept(listener: &TcpListener, serving: &Arc<Serving>) {
    let mut number = 0;
    while serving.has_room() {
        match listener.accept() {
            Ok((stream, _)) => {
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

fn serve_apart(stream: TcpStream, number: u64, serving: &Arc<Serving>) -> Result<()> {
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
        let done = done.clone();
        move || {
            // A guest that breaks off is its test's business.
            let _ = serve(&stream, &stream);
            drop(stream);
            done();
        }
    });
    if started.is_err() {
        done();
    }
    started.map(drop)
}

/// Serves one connection.
///
/// # Errors
/// When the request is not one of ours, or the connection breaks.
pub fn serve(from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut from = BufReader::with_capacity(256 << 10, from);
    let mut line = String::new();
    from.by_ref().take(100).read_line(&mut line)?;
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
        _ => Err(Error::new(ErrorKind::InvalidData, "not a request of ours")),
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|error| Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: &[u8]) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        serve(request, &mut answer).map(|()| answer)
    }

    #[test]
    fn a_sink_answers_with_the_hash_of_what_it_got() {
        let hash = hex(&Sha256::digest(b"abc"));
        assert_eq!(answer(b"sink 3\nabc").unwrap(), format!("{hash}\n").into_bytes());
        assert!(answer(b"sink 4\nabc").is_err());
    }

    #[test]
    fn a_source_sends_the_stream_of_its_seed() {
        let bytes = answer(b"source 40 7\n").unwrap();
        assert_eq!(bytes.len(), 40);
        assert_eq!(bytes, bulk::blocks(7).next().unwrap()[..40]);
        let bytes = answer(b"source 600000 1\n").unwrap();
        assert_eq!(bytes, bulk::blocks(1).take(10).flatten().take(600_000).collect::<Vec<_>>());
        assert!(answer(b"source 0 1\n").unwrap().is_empty());
    }

    #[test]
    fn a_peer_that_is_dropped_serves_nobody_any_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = Peer::start(listener).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"sink 0\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.len(), 65);
        drop(peer);
        // Whoever is still in the queue is refused too, once the thread has let go of the listener.
        let start = std::time::Instant::now();
        while TcpStream::connect(address).is_ok() {
            assert!(start.elapsed() < PATIENCE, "it still listens");
        }
    }

    #[test]
    fn a_guest_gets_a_few_threads_however_many_connections_it_makes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // As long a queue as on a stage.
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXCONN).unwrap();
        let peer = Peer::start(listener).unwrap();
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let before = threads();
        // None of them says anything.
        let silent: Vec<TcpStream> =
            (0..800).map(|_| TcpStream::connect(address).unwrap()).collect();
        let start = std::time::Instant::now();
        while peer.serving.lock().open.len() < AT_ONCE {
            assert!(start.elapsed() < PATIENCE, "nobody is served");
            std::thread::yield_now();
        }
        // Other tests have threads of their own, but no hundreds.
        assert!(threads() < before + 200, "{} threads, {before} before", threads());
        // Whoever waits is served once others are gone.
        let mut last = TcpStream::connect(address).unwrap();
        last.write_all(b"sink 0\n").unwrap();
        drop(silent);
        let mut answer = String::new();
        last.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.len(), 65);
        // A guest that holds its connections keeps no thread when it is done with.
        let held: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        let serving = Arc::clone(&peer.serving);
        drop(peer);
        let start = std::time::Instant::now();
        while !serving.lock().open.is_empty() {
            assert!(start.elapsed() < PATIENCE / 2, "threads wait for a guest that is gone");
            std::thread::yield_now();
        }
        drop(held);
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(answer(b"GET / HTTP/1.1\n").is_err());
        assert!(answer(b"sink many\n").is_err());
        assert!(answer(b"").is_err());
    }
}
