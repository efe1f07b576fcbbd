//! The case's side of its connections to the host.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use uml_protocol::lab::{GREETING, Reply, Request, env};
use uml_protocol::wire::{VERSION, receive, send};

use crate::HostPeer;

/// A connection to the host; one request at a time.
#[derive(Debug)]
pub(super) struct Connection(Mutex<TcpStream>);

impl Connection {
    pub fn open() -> Result<Self> {
        let token = std::env::var(env::TOKEN).context("this guest can have no others")?;
        let mut stream = HostPeer::find()?.connect()?;
        stream.set_nodelay(true)?;
        writeln!(stream, "{GREETING} {VERSION} {token}").context("cannot ask the host")?;
        Ok(Self(Mutex::new(stream)))
    }

    pub fn ask(&self, request: &Request) -> Result<Reply> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        send(&mut *stream, request).context("cannot ask the host")?;
        match receive(&mut *stream).context("cannot understand the host")? {
            Some(Reply::Failed(why)) => bail!("{why}"),
            Some(reply) => Ok(reply),
            None => {
                bail!("the host has ended this scenario, or speaks another version of the protocol")
            }
        }
    }

    pub fn done(&self, request: &Request) -> Result<()> {
        match self.ask(request)? {
            Reply::Done => Ok(()),
            other => unexpected(&other),
        }
    }
}

pub(super) fn unexpected<T>(reply: &Reply) -> Result<T> {
    bail!("the host answers {reply:?}")
}
