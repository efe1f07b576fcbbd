//! The folder of a case.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The fresh folder of a case, on the root file system.
pub struct CaseDir(PathBuf);

impl CaseDir {
    pub fn make(sequence: u32) -> Result<Self> {
        let dir = Self(Path::new("/var/tmp").join(format!("uml-case-{sequence}")));
        let made = dir.try_make().or_else(|error| match error.kind() {
            ErrorKind::AlreadyExists => fs::remove_dir_all(&dir.0).and_then(|()| dir.try_make()),
            ErrorKind::NotFound => fs::create_dir_all("/var/tmp").and_then(|()| dir.try_make()),
            _ => Err(error),
        });
        made.with_context(|| format!("cannot make {}", dir.0.display()))?;
        Ok(dir)
    }

    fn try_make(&self) -> io::Result<()> {
        fs::create_dir(&self.0)?;
        fs::create_dir(self.work())
    }

    /// Where the case works.
    pub fn work(&self) -> PathBuf {
        self.0.join("tmp")
    }

    /// Where a case writes why it cannot do its work here.
    pub fn skip_file(&self) -> PathBuf {
        self.0.join("skip")
    }

    /// Where libtest writes its own word.
    pub fn word_file(&self) -> PathBuf {
        self.0.join("word")
    }

    /// Removes it all; says what was written beside the case's work.
    pub fn remove(self) -> Said {
        let _ = fs::remove_dir(self.work());
        if fs::remove_dir(&self.0).is_ok() {
            return Said::default();
        }
        let read = |place| fs::read(place).ok();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let skip = read(self.skip_file()).map(|bytes| text(bytes).trim().to_owned());
        let word = read(self.word_file()).map(text);
        let _ = fs::remove_dir_all(&self.0);
        Said { skip, word }
    }
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
    use std::os::unix::fs::DirBuilderExt as _;

    use super::*;

    #[test]
    fn a_reason_that_is_no_text_is_a_reason_all_the_same() {
        let dir = CaseDir(std::env::temp_dir().join(format!("uml-agent-{}", std::process::id())));
        fs::DirBuilder::new().mode(0o700).create(&dir.0).unwrap();
        fs::create_dir(dir.work()).unwrap();
        fs::write(dir.skip_file(), b"no \xff\n").unwrap();
        let place = dir.0.clone();
        let said = dir.remove();
        assert_eq!((said.skip.as_deref(), said.word), (Some("no \u{fffd}"), None));
        assert!(!place.exists());
    }
}
