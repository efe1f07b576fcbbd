//! Greetings and messages on a connection.

use std::io::{ErrorKind, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, LONGEST, VERSION};

/// Sends our greeting and reads the other side's.
///
/// # Errors
/// When the other side is not one of us, or of another version.
pub fn greet(stream: &mut (impl Read + Write)) -> Result<(), Error> {
    let mut greeting = [0; MAGIC.len() + 2];
    greeting[..MAGIC.len()].copy_from_slice(&MAGIC);
    greeting[MAGIC.len()..].copy_from_slice(&VERSION.to_le_bytes());
    stream.write_all(&greeting)?;
    stream.flush()?;
    read_whole(stream, &mut greeting)?;
    let (magic, version) = greeting.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(Error::Magic);
    }
    match u16::from_le_bytes([version[0], version[1]]) {
        VERSION => Ok(()),
        theirs => Err(Error::Version { theirs }),
    }
}

/// Sends one message.
///
/// # Errors
/// When it is too long, or the connection failed.
pub fn send(stream: &mut impl Write, message: &impl Serialize) -> Result<(), Error> {
    let mut frames = Vec::new();
    add_frame(&mut frames, message)?;
    send_frames(stream, &frames)
}

/// Adds a message to others that are sent at once.
///
/// # Errors
/// When it is too long.
pub fn add_frame(frames: &mut Vec<u8>, message: &impl Serialize) -> Result<(), Error> {
    let start = frames.len();
    let mut all = std::mem::take(frames);
    all.extend([0; 4]);
    *frames =
        postcard::to_extend(message, all).map_err(|error| Error::Malformed(error.to_string()))?;
    let length = frames.len() - start - 4;
    if length > LONGEST {
        return Err(Error::TooLong(length));
    }
    let prefix = u32::try_from(length).map_err(|_| Error::TooLong(length))?;
    frames[start..start + 4].copy_from_slice(&prefix.to_le_bytes());
    Ok(())
}

/// Sends messages in one write: a length and its message in two small packets would wait for each other's
/// acknowledgement.
///
/// # Errors
/// When the connection failed.
pub fn send_frames(stream: &mut impl Write, frames: &[u8]) -> Result<(), Error> {
    stream.write_all(frames)?;
    Ok(stream.flush()?)
}

/// Receives one message; nothing when the other side closed the connection between two.
///
/// # Errors
/// When what came is not a message, or the connection failed.
pub fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> Result<Option<T>, Error> {
    let mut prefix = [0; 4];
    let first = loop {
        match stream.read(&mut prefix) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if first == 0 {
        return Ok(None);
    }
    read_whole(stream, &mut prefix[first..])?;
    let length = u32::from_le_bytes(prefix) as usize;
    if length > LONGEST {
        return Err(Error::TooLong(length));
    }
    let mut bytes = vec![0; length];
    read_whole(stream, &mut bytes)?;
    match postcard::take_from_bytes(&bytes) {
        Ok((message, [])) => Ok(Some(message)),
        Ok((_, rest)) => Err(Error::Malformed(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(Error::Malformed(error.to_string())),
    }
}

fn read_whole(stream: &mut impl Read, bytes: &mut [u8]) -> Result<(), Error> {
    stream.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => Error::Truncated,
        _ => Error::Io(error),
    })
}

/// The first bytes that each side sends.
const MAGIC: [u8; 8] = *b"uml-wire";
