//! The folder of a case.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The fresh folders of a case.
pub struct CaseDir {
    /// On the root file system.
    work: PathBuf,
    /// In memory, so that a case that fills the disk can still say how it went.
    files: PathBuf,
    /// What libtest writes its word to; a case may take the name away.
    word: File,
}

/// A word is a line.
const WORD_LIMIT: u64 = 1 << 16;

impl CaseDir {
    pub fn make(sequence: u32) -> Result<Self> {
        Self::make_in(Path::new("/var/tmp"), Path::new(uml_protocol::PROGRAMS), sequence)
    }

    fn make_in(disk: &Path, memory: &Path, sequence: u32) -> Result<Self> {
        let work = disk.join(format!("uml-case-{sequence}"));
        let files = memory.join(format!("case-{sequence}"));
        for place in [&work, &files] {
            make(place).with_context(|| format!("cannot make {}", place.display()))?;
        }
        let path = word_in(&files);
        let word = File::create_new(&path)
            .and_then(|_| File::open(&path))
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { work, files, word })
    }

    /// Where the case works.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Where a case writes why it cannot do its work here.
    pub fn skip_file(&self) -> PathBuf {
        self.files.join("skip")
    }

    /// Where libtest writes its own word.
    pub fn word_file(&self) -> PathBuf {
        word_in(&self.files)
    }

    /// Removes it all; says what was written beside the case's work.
    pub fn remove(self) -> Said {
        if fs::remove_dir(&self.work).is_err() {
            let _ = fs::remove_dir_all(&self.work);
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let skip = fs::read(self.skip_file()).ok().map(|bytes| text(bytes).trim().to_owned());
        let mut word = Vec::new();
        let read = self.word.take(WORD_LIMIT).read_to_end(&mut word);
        let word = (read.is_ok() && !word.is_empty()).then(|| text(word));
        let _ = fs::remove_dir_all(&self.files);
        Said { skip, word }
    }
}

fn word_in(files: &Path) -> PathBuf {
    files.join("word")
}

/// Makes a folder, in the place of what is there.
fn make(place: &Path) -> io::Result<()> {
    fs::create_dir(place).or_else(|error| match error.kind() {
        ErrorKind::AlreadyExists => fs::remove_dir_all(place).and_then(|()| fs::create_dir(place)),
        ErrorKind::NotFound => fs::create_dir_all(place),
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
