//! Serves a person: commands, and files to and from the guest. One connection, one request; each has threads of its own.
//!
//! It is a service of a guest with an init of its own, and runs no cases.

use std::convert::Infallible;
use std::io::{BufReader, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use uml_protocol::commands::{FromCommand, PARAMETER, PORT, Request};
use uml_protocol::wire::{self, ProcessEnd, receive};

use crate::{init, name_servers};

mod command;
mod standard;
mod streams;
mod transfer;

/// The argument that starts this instead of an agent for cases.
pub const ARGUMENT: &str = "--commands";

/// Serves the host that the kernel's command line names.
pub fn serve() -> Result<Infallible> {
    let host = crate::parameter(PARAMETER)?.with_context(|| format!("no {PARAMETER}= is given"))?;
    let host: Ipv4Addr = host.parse().with_context(|| format!("{PARAMETER}={host}"))?;
    init::configure_link()?;
    name_servers::settle()?;
    let listener = TcpListener::bind(("0.0.0.0", PORT))
        .with_context(|| format!("cannot listen on port {PORT}"))?;
    loop {
        // One that is gone again is none of ours.
        let Ok((stream, from)) = listener.accept() else { continue };
        // What is asked is done as root: nobody in the guest may ask.
        if matches!(from, SocketAddr::V4(from) if *from.ip() == host) {
            // Where there is no room for a thread the connection closes, which says enough.
            let _ = thread::Builder::new().spawn(|| drop(answer(stream)));
        }
    }
}

/// The host, as several threads answer it.
#[derive(Clone)]
pub struct Host(Arc<Mutex<TcpStream>>);

impl Host {
    pub fn say(&self, answer: &FromCommand) -> Result<(), wire::Error> {
        wire::send(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), answer)
    }
}

/// Does what one connection asks for.
fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    wire::greet(&mut stream)?;
    let mut requests = BufReader::new(stream.try_clone()?);
    let Some(request) = receive(&mut requests)? else { return Ok(()) };
    let host = Host(Arc::new(Mutex::new(stream.try_clone()?)));
    let last = match act(request, requests, &host) {
        Ok(end) => FromCommand::Ended(end),
        Err(error) => FromCommand::Failed(format!("{error:#}")),
    };
    host.say(&last)?;
    Ok(stream.shutdown(Shutdown::Both)?)
}

fn act(request: Request, requests: impl Read + Send + 'static, host: &Host) -> Result<ProcessEnd> {
    match request {
        Request::Run(wanted) => return command::run(&wanted, requests, host),
        Request::Put(to) => transfer::put(&to, requests, host)?,
        Request::Get(place) => transfer::get(Path::new(&place), host)?,
    }
    Ok(ProcessEnd::Code(0))
}
