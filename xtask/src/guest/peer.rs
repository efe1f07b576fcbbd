//! The peer on the host end of a guest's link, which network tests talk to.
//!
//! One request a connection, one ASCII line:
//! - `sink N`: N bytes follow; the answer is their SHA-256 in hexadecimal and a newline.
//! - `source N SEED`: the answer is N bytes, those of the blocks that belong to `SEED`.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::thread::JoinHandle;
use std::time::Duration;

use guest_agent::bulk;
use sha2::{Digest as _, Sha256};

use crate::store::hex;

/// A guest that says nothing for this long is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The peer of one guest. Dropping it ends its thread; connections end with the guest.
#[derive(Debug)]
pub struct Peer {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Serves connections in a thread of its own.
    ///
    /// # Errors
    /// When the listener cannot be shared with it.
    pub fn start(listener: TcpListener) -> io::Result<Self> {
        let theirs = listener.try_clone()?;
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = theirs.accept() {
                std::thread::spawn(move || {
                    let limited = stream
                        .set_read_timeout(Some(PATIENCE))
                        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
                    // A guest that breaks off is its test's business.
                    let _ = limited.and_then(|()| serve(&stream, &stream));
                });
            }
        });
        Ok(Self { listener, thread: Some(thread) })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It wakes the thread: accept(2) of a socket that does not listen is an error.
        let _ =
            nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        let _ = self.thread.take().map(JoinHandle::join);
    }
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
    fn anything_else_is_refused() {
        assert!(answer(b"GET / HTTP/1.1\n").is_err());
        assert!(answer(b"sink many\n").is_err());
        assert!(answer(b"").is_err());
    }
}
