//! Files to and from the guest.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use uml_protocol::commands::{Destination, FromCommand, ToCommand};
use uml_protocol::files::{InPieces, Pieces, TOP, pack, unpack};
use uml_protocol::wire::{Stream, receive};

use super::Host;

/// Puts what the host sends where it belongs, whole or not at all.
pub fn put(to: &Destination, mut requests: impl Read, host: &Host) -> Result<()> {
    let mut place = Path::new(&to.place).to_owned();
    if place.is_dir() {
        place.push(&to.name);
    } else {
        ensure!(!to.into, "{} is not a folder of the guest", to.place);
    }
    let arriving = place.with_file_name(format!(".{}.arriving", to.name));
    fs::create_dir(&arriving).with_context(|| format!("cannot make {}", arriving.display()))?;
    let archive = Pieces::new(|| next_piece(&mut requests, host));
    let arrived = unpack(archive, &arriving).context("cannot unpack the archive").and_then(|()| {
        fs::rename(arriving.join(TOP), &place)
            .with_context(|| format!("cannot make {}", place.display()))
    });
    let cleared = fs::remove_dir_all(&arriving).context("cannot clear up");
    arrived.and(cleared)
}

/// Sends what is at that place.
pub fn get(place: &Path, host: &Host) -> Result<()> {
    let send = |bytes| {
        let output = FromCommand::Output { stream: Stream::Stdout, bytes };
        host.say(&output).map_err(io::Error::other)
    };
    pack(place, InPieces::new(send)).with_context(|| format!("cannot read {}", place.display()))
}

/// The next piece of the archive that the host sends, none at its end.
fn next_piece(requests: &mut impl Read, host: &Host) -> io::Result<Option<Vec<u8>>> {
    match receive(requests).map_err(io::Error::other)? {
        Some(ToCommand::Input(bytes)) => {
            host.say(&FromCommand::Taken(bytes.len())).map_err(io::Error::other)?;
            Ok(Some(bytes))
        }
        Some(ToCommand::InputOver) => Ok(None),
        Some(other) => Err(io::Error::other(format!("{other:?} is no file"))),
        // It broke off.
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
