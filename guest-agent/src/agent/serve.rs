//! The connection with the host: one message after the other.

use std::io::BufReader;
use std::net::TcpStream;

use anyhow::{Context as _, Result, bail};
use guest_agent::wire::{self, ToGuest, ToHost, receive, send};
use nix::sys::utsname::uname;

use crate::case::Cases;
use crate::programs::{self, Arriving, Programs};
use crate::{Log, Role};

/// A session that is over; what is left is to say so.
pub struct Over(TcpStream);

impl Over {
    /// Tells the host that the guest is about to be switched off.
    pub fn farewell(mut self) -> Result<()> {
        match send(&mut self.0, &ToHost::Farewell) {
            // A host that is gone needs no farewell.
            Ok(()) | Err(wire::Error::Io(_)) => Ok(()),
            Err(error) => Err(error).context("cannot say farewell"),
        }
    }
}

/// Serves the host until it asks for the end, or is gone.
pub fn serve(mut stream: TcpStream, role: Role, log: &mut Log) -> Result<Over> {
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    wire::greet(&mut stream).context("cannot greet the host")?;
    let release = uname().context("uname failed")?.release().to_string_lossy().into_owned();
    send(&mut stream, &ToHost::Hello { release })?;
    let mut arriving: Option<Arriving> = None;
    let mut programs = Programs::default();
    let mut cases = Cases::new(role)?;
    // A message in one piece takes one call.
    let mut requests =
        BufReader::new(stream.try_clone().context("cannot hold the connection twice")?);
    loop {
        match receive(&mut requests).context("cannot understand the host")? {
            None | Some(ToGuest::PowerOff) => return Ok(Over(stream)),
            Some(ToGuest::Seal(key)) => log.seal(key),
            Some(ToGuest::Offer { hash, size }) => {
                let known = programs.have(&hash);
                arriving = if known { None } else { Some(programs::begin(hash, size)?) };
                send(&mut stream, if known { &ToHost::Have } else { &ToHost::Need })?;
            }
            Some(ToGuest::Chunk(bytes)) => {
                let Some(program) = &mut arriving else { bail!("a chunk of no program") };
                if program.take(&bytes)? {
                    if let Some(program) = arriving.take() {
                        programs.keep(program)?;
                    }
                    send(&mut stream, &ToHost::Stored)?;
                }
            }
            Some(ToGuest::Run(run)) => {
                let answer = match cases.run(&run, &mut programs, &mut stream, log) {
                    Ok(exit) => ToHost::Exited(exit),
                    Err(error) => ToHost::Failed(format!("{error:#}")),
                };
                send(&mut stream, &answer)?;
            }
        }
    }
}
