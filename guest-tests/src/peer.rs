//! The peer on the host end of the control link; xtask's `guest::peer` documents what it speaks.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// The peer's address.
#[derive(Debug, Clone, Copy)]
pub struct HostPeer {
    /// The host end of the control link.
    pub address: Ipv4Addr,
    /// The port that the peer listens on.
    pub port: u16,
}

impl HostPeer {
    /// The peer, as the environment of this case names it.
    ///
    /// # Errors
    /// When it does not.
    pub fn find() -> Result<Self> {
        let var = |name| std::env::var(name).with_context(|| format!("no {name}"));
        Ok(Self {
            address: var(crate::env::HOST_ADDR)?.parse()?,
            port: var(crate::env::HOST_PORT)?.parse()?,
        })
    }

    /// Sends `bytes` and returns the hash of what arrived, in hexadecimal.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn sink(&self, bytes: &[u8]) -> Result<String> {
        let mut stream = self.connect()?;
        writeln!(stream, "sink {}", bytes.len())?;
        stream.write_all(bytes)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    }

    /// Receives `count` bytes of the stream that belongs to `seed`.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn source(&self, count: usize, seed: u64) -> Result<Vec<u8>> {
        let mut stream = self.connect()?;
        writeln!(stream, "source {count} {seed}")?;
        let mut bytes = Vec::with_capacity(count);
        stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn connect(&self) -> Result<TcpStream> {
        TcpStream::connect((self.address, self.port)).context("cannot connect to the host's peer")
    }
}

/// The first `count` bytes of the stream that belongs to `seed`.
pub fn stream_of(count: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count + 32);
    for index in 0_u64.. {
        if bytes.len() >= count {
            break;
        }
        bytes.extend_from_slice(&Sha256::digest(format!("{seed}:{index}")));
    }
    bytes.truncate(count);
    bytes
}
