//! Files to and from a guest.

use std::fs;
use std::io;
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use socket2::Socket;
use uml_protocol::commands::{Destination, FromCommand, Request, ToCommand};
use uml_protocol::files::{InPieces, Pieces, TOP, pack, unpack};
use uml_protocol::wire::{self, ProcessEnd, receive};

use super::ask::{request, wait_for_end, watched};
use super::name::GuestName;
use crate::archive::Partial;
use crate::ctx::Ctx;
use crate::threads;

/// A place on the host, or in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On the host.
    Host(PathBuf),
    /// In a guest; `GUEST:PATH`.
    Guest(GuestName, String),
}

impl FromStr for Place {
    type Err = String;

    /// The text before the first colon is a guest's name, unless it has a slash: `./a:b` is a file.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((name, _)) if name.contains('/') => Ok(Place::Host(text.into())),
            Some((_, "")) => Err("a path in the guest is missing after the colon".into()),
            Some((name, path)) => Ok(Place::Guest(name.parse()?, path.into())),
            None if text.is_empty() => Err("a path has at least one letter".into()),
            None => Ok(Place::Host(text.into())),
        }
    }
}

/// Copies files and folders between the host and a guest, each whole or not at all.
///
/// # Errors
/// When something cannot be read or made, no such guest runs, or both or neither side is a guest's.
pub fn copy(ctx: &Ctx, from: &[Place], to: &Place) -> Result<()> {
    for place in from {
        ctx.cancel.check()?;
        match (place, to) {
            (Place::Host(path), Place::Guest(guest, place)) => {
                put(ctx, path, guest, (place, from.len() > 1)).with_context(|| {
                    format!("cannot copy {} to {guest}:{place}", path.display())
                })?;
            }
            (Place::Guest(guest, place), Place::Host(path)) => {
                get(ctx, (guest, place), path, from.len() > 1).with_context(|| {
                    format!("cannot copy {guest}:{place} to {}", path.display())
                })?;
            }
            (Place::Guest(..), Place::Guest(..)) => {
                bail!("copy from one guest to another by the host")
            }
            (Place::Host(_), Place::Host(_)) => {
                bail!("neither place is a guest's: say `GUEST:PATH` for one of them")
            }
        }
    }
    Ok(())
}

/// The last part of a path, which names what is there.
fn name_of(path: &Path) -> Result<String> {
    let resolved = match path.file_name() {
        Some(name) => PathBuf::from(name),
        // `.` and `..` are called as the folders are that they lead to.
        None => fs::canonicalize(path)?,
    };
    let name = resolved.file_name().context("it has no name")?;
    Ok(name.to_str().context("its name is not UTF-8")?.into())
}

fn put(ctx: &Ctx, path: &Path, guest: &GuestName, (place, into): (&str, bool)) -> Result<()> {
    // What is not there is said before the guest is asked.
    fs::metadata(path)?;
    let to = Destination {
        place: place.into(),
        name: name_of(path)?,
        into: into || place.ends_with('/'),
    };
    let connection = request(&ctx.layout, guest, &Request::Put(to))?;
    let socket = &connection.socket;
    let answers = socket.try_clone().context("cannot share a connection")?;
    let path = path.to_owned();
    let sends = threads::spawn({
        let mut socket = socket.try_clone().context("cannot share a connection")?;
        move || -> Result<()> {
            let send =
                |piece| wire::send(&mut socket, &ToCommand::Input(piece)).map_err(io::Error::other);
            pack(&path, &mut InPieces::new(send))?;
            Ok(wire::send(&mut socket, &ToCommand::InputOver)?)
        }
    })?;
    let end = watched(ctx, &connection, move || wait_for_end(answers));
    if end.is_err() {
        let _ = socket.shutdown(Shutdown::Both);
    }
    let sent = sends.join().unwrap_or_else(|_| bail!("a thread of ours panicked"));
    match (end, sent) {
        (Ok(Some(ProcessEnd::Code(0))), Ok(())) => Ok(()),
        // It says more than that the connection was closed.
        (Err(why), _) | (Ok(_), Err(why)) => Err(why),
        (Ok(end), Ok(())) => bail!("the guest is gone, or ended it otherwise: {end:?}"),
    }
}

fn get(ctx: &Ctx, (guest, place): (&GuestName, &str), path: &Path, into: bool) -> Result<()> {
    let mut dest = path.to_owned();
    if path.is_dir() {
        dest.push(
            Path::new(place).file_name().context("it has no name: say what it is to be called")?,
        );
    } else {
        ensure!(
            !into && !path.as_os_str().to_string_lossy().ends_with('/'),
            "{} is not a folder",
            path.display()
        );
    }
    let connection = request(&ctx.layout, guest, &Request::Get(place.into()))?;
    let partial = Partial::claim(&dest)?;
    let folder = partial.path().to_owned();
    let mut arrives = connection.socket.try_clone().context("cannot share a connection")?;
    let archive = Pieces::new(move || next_piece(&mut arrives));
    watched(ctx, &connection, move || Ok(unpack(archive, &folder)?))?;
    fs::rename(partial.path().join(TOP), &dest)
        .with_context(|| format!("cannot make {}", dest.display()))
}

/// The next piece of the archive that the guest sends, none at its end: one that breaks off is an error.
fn next_piece(socket: &mut Socket) -> io::Result<Option<Vec<u8>>> {
    loop {
        return match receive(socket).map_err(io::Error::other)? {
            Some(FromCommand::Output { bytes, .. }) => Ok(Some(bytes)),
            Some(FromCommand::Ended(_)) => Ok(None),
            Some(FromCommand::Failed(why)) => Err(io::Error::other(format!("in the guest: {why}"))),
            Some(FromCommand::Taken(_)) => continue,
            None => Err(io::Error::other("the guest is gone")),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_guests_or_the_hosts() {
        let guest = |name: &str, path: &str| Place::Guest(name.parse().unwrap(), path.into());
        assert_eq!("web:/etc/hosts".parse(), Ok(guest("web", "/etc/hosts")));
        assert_eq!("web:a:b".parse(), Ok(guest("web", "a:b")));
        for path in ["hosts", "./a:b", "/x:y/z", "."] {
            assert_eq!(path.parse(), Ok(Place::Host(path.into())));
        }
        for wrong in ["web:", ":x", "we b:x", ""] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong:?}");
        }
    }
}
