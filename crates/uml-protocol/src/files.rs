//! A file or a folder on its way between a host and a guest: a tar archive with one entry at its top.

use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use tar::{Archive, Builder};

use crate::wire::CHUNK;

/// What the one entry at the top is called.
pub const TOP: &str = "top";

/// Writes what is at `path` to `out`, with its modes and times. A symbolic link is followed at the top only.
///
/// # Errors
/// When something cannot be read or is no file, folder or link, or `out` takes no more.
pub fn pack(path: &Path, out: impl Write) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let mut archive = Builder::new(out);
    archive.follow_symlinks(false);
    archive.sparse(false);
    if path.is_dir() {
        archive.append_dir_all(TOP, &path)?;
    } else {
        archive.append_path_with_name(&path, TOP)?;
    }
    archive.into_inner()?.flush()
}

/// Unpacks such an archive in `folder`, which is empty and nobody else's. Owners are not kept.
///
/// # Errors
/// When the archive is damaged, or something in it would not be below the folder.
pub fn unpack(from: impl Read, folder: &Path) -> io::Result<()> {
    let mut archive = Archive::new(from);
    archive.set_overwrite(false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        // A device of the other side is no device here, and a link to a file of its may be one to a file of ours.
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
            return Err(io::Error::other(format!("{name:?} is no file, folder or symbolic link")));
        }
        if !(entry.path()?.starts_with(TOP) && entry.unpack_in(folder)?) {
            return Err(io::Error::other(format!("an entry leads elsewhere: {name:?}")));
        }
    }
    Ok(())
}

/// What comes in pieces, as a stream. It ends when `next` has no more.
#[derive(Debug)]
pub struct Pieces<F> {
    next: F,
    left: Vec<u8>,
}

impl<F: FnMut() -> io::Result<Option<Vec<u8>>>> Pieces<F> {
    /// The stream of what `next` gives, none of which is empty.
    pub fn new(next: F) -> Self {
        Self { next, left: Vec::new() }
    }
}

impl<F: FnMut() -> io::Result<Option<Vec<u8>>>> Read for Pieces<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() {
            self.left = (self.next)()?.unwrap_or_default();
        }
        let count = self.left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.left[..count]);
        self.left.drain(..count);
        Ok(count)
    }
}

/// A stream that is sent in pieces, each small enough for a message.
#[derive(Debug)]
pub struct InPieces<F>(F);

impl<F: FnMut(Vec<u8>) -> io::Result<()>> InPieces<F> {
    /// What is written is given to `send`.
    pub fn new(send: F) -> BufWriter<Self> {
        BufWriter::with_capacity(CHUNK, Self(send))
    }
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Write for InPieces<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(CHUNK)];
        (self.0)(piece.to_vec())?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tar::{EntryType, Header};

    use super::*;

    #[test]
    fn a_folder_arrives_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("below")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("below/run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(from.join("below/run"), fs::Permissions::from_mode(0o4750)).unwrap();
        symlink("/etc/passwd", from.join("absolute")).unwrap();
        symlink(&from, dir.path().join("link")).unwrap();
        let mut packed = Vec::new();
        pack(&dir.path().join("link"), &mut packed).unwrap();
        unpack(&*packed, &to).unwrap();
        let top = to.join(TOP);
        assert_eq!(fs::read_to_string(top.join("below/run")).unwrap(), "#!/bin/sh\n");
        let mode = top.join("below/run").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o750, "no setuid program arrives");
        assert_eq!(fs::read_link(top.join("absolute")).unwrap(), Path::new("/etc/passwd"));
    }

    #[test]
    fn nothing_is_written_beside_the_folder() {
        // A path that climbs, one of another top, one through a link that leads out, a link to a file outside, a device.
        type Step = (&'static str, EntryType, &'static str);
        let file = |path| -> Step { (path, EntryType::Regular, "") };
        let cases: [&[Step]; 5] = [
            &[file("top/../../out")],
            &[file("out")],
            &[("top", EntryType::Symlink, ".."), file("top/out")],
            &[("top", EntryType::Link, "/etc/passwd")],
            &[("top", EntryType::Char, "")],
        ];
        for steps in cases {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("folder");
            fs::create_dir(&folder).unwrap();
            let mut archive = Builder::new(Vec::new());
            for (path, kind, target) in steps {
                let mut header = Header::new_gnu();
                header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
                header.set_entry_type(*kind);
                if !target.is_empty() {
                    header.set_link_name(target).unwrap();
                }
                header.set_mode(0o644);
                header.set_size(0);
                header.set_cksum();
                archive.append(&header, io::empty()).unwrap();
            }
            let packed = archive.into_inner().unwrap();
            let error = unpack(&*packed, &folder).unwrap_err().to_string();
            assert!(!dir.path().join("out").exists(), "{steps:?}: {error}");
        }
    }
}
