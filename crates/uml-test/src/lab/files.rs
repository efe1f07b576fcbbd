//! Files of another guest, written and read in pieces by functions that it calls.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _, copy, stdout};

use anyhow::{Context as _, Result};

use crate::TestResult;

/// How much is written at once: twice as much, in hexadecimal, is less than one variable of an environment holds
/// (execve(2), MAX_ARG_STRLEN).
const WRITTEN: usize = 48 << 10;

/// How much is read at once: output of that size is passed on whole.
const READ: u64 = 256 << 10;

/// A place in a file, as [`read`] and [`write`] are told of it. The path comes last: it may have blanks.
pub(super) fn at(path: &str, offset: usize) -> String {
    format!("{offset} {path}")
}

/// What [`write`] is to be called with for all of these contents.
pub(super) fn pieces<'a>(path: &'a str, contents: &'a [u8]) -> impl Iterator<Item = String> + 'a {
    let whole = contents.chunks(WRITTEN).enumerate();
    let pieces = whole.map(|(number, piece)| (number * WRITTEN, piece));
    let empty = contents.is_empty().then_some((0, contents));
    pieces.chain(empty).map(move |(offset, piece)| {
        let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{hex} {}", at(path, offset))
    })
}

fn place(text: &str) -> Result<(u64, &str)> {
    let (offset, path) = text.split_once(' ').context("no offset and path")?;
    Ok((offset.parse()?, path))
}

/// Writes a piece: the first makes the file anew.
pub(super) fn write(piece: &str) -> TestResult {
    let (hex, place_of) = piece.split_once(' ').context("no piece and place")?;
    let (offset, path) = place(place_of)?;
    let digits = hex
        .as_bytes()
        .chunks(2)
        .map(|digits| Ok(u8::from_str_radix(std::str::from_utf8(digits)?, 16)?));
    let bytes = digits.collect::<Result<Vec<u8>>>()?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(offset == 0).open(path);
    let file = file.as_mut().map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&bytes)?;
    Ok(())
}

/// Writes a piece of a file to standard output; nothing at its end.
pub(super) fn read(place_of: &str) -> TestResult {
    let (offset, path) = place(place_of)?;
    let mut file = File::open(path).with_context(|| path.to_owned())?;
    file.seek(SeekFrom::Start(offset))?;
    copy(&mut file.take(READ), &mut stdout())?;
    Ok(())
}
