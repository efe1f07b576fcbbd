//! The folder of a case, and the files by which it says how it went.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// What a case has for itself. The files are in memory, so that a case that fills the disk can still say how it
/// went.
pub struct CaseDir {
    /// A fresh folder on the root file system.
    work: PathBuf,
    /// Where the case says why it cannot do its work.
    skip: PathBuf,
    /// Where libtest writes its word; a case may take the name away, and not the file.
    word: (PathBuf, File),
}

/// A word is a line.
const WORD_LIMIT: usize = 1 << 12;

impl CaseDir {
    pub fn make(sequence: u32) -> Result<Self> {
        Self::make_in(Path::new("/var/tmp"), Path::new(uml_protocol::PROGRAMS), sequence)
    }

    fn make_in(disk: &Path, memory: &Path, sequence: u32) -> Result<Self> {
        let work = disk.join(format!("uml-case-{sequence}"));
        let word = memory.join(format!("word-{sequence}"));
        let failed = |place: &Path| format!("cannot make {}", place.display());
        make_fresh(&work, || fs::create_dir(&work)).with_context(|| failed(&work))?;
        let open = || File::options().read(true).write(true).create_new(true).open(&word);
        let file = make_fresh(&word, open).with_context(|| failed(&word))?;
        Ok(Self { work, skip: memory.join(format!("skip-{sequence}")), word: (word, file) })
    }

    /// Where the case works.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Where a case writes why it cannot do its work here.
    pub fn skip_file(&self) -> &Path {
        &self.skip
    }

    /// Where libtest writes its own word.
    pub fn word_file(&self) -> &Path {
        &self.word.0
    }

    /// Removes it all; says what was written beside the case's work.
    pub fn remove(self) -> Said {
        if fs::remove_dir(&self.work).is_err() {
            let _ = fs::remove_dir_all(&self.work);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let skip = fs::read(&self.skip).ok().map(|bytes| text(&bytes).trim().to_owned());
        if skip.is_some() {
            let _ = fs::remove_file(&self.skip);
        }
        let (path, file) = self.word;
        let mut word = [0; WORD_LIMIT];
        let count = file.read_at(&mut word, 0).unwrap_or(0);
        let _ = fs::remove_file(path);
        Said { skip, word: (count > 0).then(|| text(&word[..count])) }
    }
}

/// Makes a file or a folder, in the place of what is there.
fn make_fresh<T>(place: &Path, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    make().or_else(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            // It may be a file, or a folder that is not empty.
            fs::remove_file(place).or_else(|_| fs::remove_dir_all(place))?;
            make()
        }
        ErrorKind::NotFound => {
            place.parent().map_or(Ok(()), fs::create_dir_all)?;
            make()
        }
        _ => Err(error),
    })
}

/// What was said of a case by files.
#[derive(Default)]
pub struct Said {
    /// Why it could not do its work.
    pub skip: Option<String>,
    /// libtest's word.
    pub word: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::DirBuilderExt as _;

    use super::*;

    #[test]
    fn what_was_said_is_read_whatever_became_of_its_place() {
        let root = std::env::temp_dir().join(format!("uml-agent-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&root).unwrap();
        let [disk, memory] = ["disk", "memory"].map(|name| root.join(name));
        let dir = CaseDir::make_in(&disk, &memory, 1).unwrap();
        fs::write(dir.work().join("file"), "").unwrap();
        fs::write(dir.skip_file(), b"no \xff\n").unwrap();
        let said = dir.remove();
        assert_eq!((said.skip.as_deref(), said.word), (Some("no \u{fffd}"), None));

        let dir = CaseDir::make_in(&disk, &memory, 1).unwrap();
        // As libtest does.
        let mut word = File::create(dir.word_file()).unwrap();
        fs::remove_file(dir.word_file()).unwrap();
        fs::write(dir.word_file(), "forged").unwrap();
        word.write_all(b"ok a").unwrap();
        let said = dir.remove();
        assert_eq!((said.skip, said.word.as_deref()), (None, Some("ok a")));
        for place in [disk, memory] {
            assert_eq!(fs::read_dir(place).unwrap().count(), 0);
        }
        fs::remove_dir_all(root).unwrap();
    }
}
