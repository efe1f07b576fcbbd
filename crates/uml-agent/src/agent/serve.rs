//! The connection with the host: one message after the other.

use std::io::BufReader;
use std::net::TcpStream;

use anyhow::{Context as _, Result, bail};
use nix::sys::utsname::uname;
use uml_protocol::wire::{self, ToGuest, ToHost, add_frame, receive, send, send_frames};

use crate::case::{Cases, Host};
use crate::programs::{self, Arriving, Programs};
use crate::{Log, Role};

/// A session that is over; what is left is to say so.
pub struct Over(TcpStream);

impl Over {
    /// Tells the host the last of the kernel's log, and that the guest is about to be switched off.
    pub fn farewell(mut self, log: &mut Log) -> Result<()> {
        let mut frames = Vec::new();
        log.read(&mut frames)?;
        add_frame(&mut frames, &ToHost::Farewell)?;
        match send_frames(&mut self.0, &frames) {
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
    let mut frames = Vec::new();
    add_frame(&mut frames, &ToHost::Hello { release })?;
    let has_search = log.boot(&mut frames)?;
    send_frames(&mut stream, &frames)?;
    let mut arriving: Option<Arriving> = None;
    let mut programs = Programs::default();
    let mut cases = Cases::new(role)?;
    if has_search {
        cases.watch_memory()?;
    }
    // A message in one piece takes one call.
    let mut requests =
        BufReader::new(stream.try_clone().context("cannot hold the connection twice")?);
    loop {
        match receive(&mut requests).context("cannot understand the host")? {
            None => return Ok(Over(stream)),
            Some(ToGuest::PowerOff { search }) => {
                if search {
                    cases.tell_leaks(&mut stream)?;
                }
                return Ok(Over(stream));
            }
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
            Some(ToGuest::MoreTime(_)) => bail!("time for no case"),
            Some(ToGuest::Run(run)) => {
                let host = Host { stream: &mut stream, requests: &mut requests };
                let answer = match cases.run(&run, &mut programs, host, log) {
                    Ok(exit) => ToHost::Exited(exit),
                    Err(error) => ToHost::Failed(format!("{error:#}")),
                };
                cases.send(&mut stream, &answer)?;
            }
        }
    }
}
