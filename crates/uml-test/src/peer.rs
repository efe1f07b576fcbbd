//! The peer on the host end of the control link; xtask's `guest::peer` documents what it speaks.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context as _, Result};

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

    /// Sends `blocks`, which are `count` bytes in all, and returns the hash of what arrived, in
    /// hexadecimal.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn sink(&self, count: usize, blocks: impl Iterator<Item = Vec<u8>>) -> Result<String> {
        self.send("sink", count, blocks)
    }

    /// Sends `blocks`, which are `count` bytes in all, and returns how many of them arrived: nothing but the network
    /// bounds how fast that goes.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn discard(&self, count: usize, blocks: impl Iterator<Item = Vec<u8>>) -> Result<usize> {
        Ok(self.send("discard", count, blocks)?.parse()?)
    }

    fn send(
        &self,
        what: &str,
        count: usize,
        blocks: impl Iterator<Item = Vec<u8>>,
    ) -> Result<String> {
        let mut stream = self.connect()?;
        writeln!(stream, "{what} {count}")?;
        for block in blocks {
            stream.write_all(&block)?;
        }
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    }

    /// A connection that gives the first `count` bytes of the [bulk](uml_protocol::bulk) that belongs to `seed`.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn source(&self, count: usize, seed: u64) -> Result<impl Read + use<>> {
        let mut stream = self.connect()?;
        writeln!(stream, "source {count} {seed}")?;
        Ok(stream)
    }

    /// A connection from which comes back what is written to it.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn echo(&self) -> Result<TcpStream> {
        let mut stream = self.connect()?;
        writeln!(stream, "echo")?;
        Ok(stream)
    }

    pub(crate) fn connect(&self) -> Result<TcpStream> {
        TcpStream::connect((self.address, self.port)).context("cannot connect to the host's peer")
    }
}
