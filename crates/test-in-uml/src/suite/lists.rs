//! What test binaries said of themselves, kept by their hashes: a binary is asked once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::listing::Listing;

/// What the file means; another one is not read.
const VERSION: u32 = 1;

/// The listings of earlier runs, and of this one.
#[derive(Debug)]
pub(super) struct Lists {
    path: PathBuf,
    earlier: BTreeMap<String, Listing>,
    now: BTreeMap<String, Listing>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    lists: BTreeMap<String, Listing>,
}

impl Lists {
    /// Reads what is kept at `path`. What is not there, not whole, or of another version costs a
    /// look at the binaries.
    pub fn read(path: &Path) -> Self {
        let kept = fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let kept = kept.filter(|kept: &Kept| kept.version == VERSION);
        let earlier = kept.map(|kept| kept.lists).unwrap_or_default();
        Self { path: path.into(), earlier, now: BTreeMap::new() }
    }

    /// The listing of the binary with this hash: the one that is kept, or what `ask` gets.
    pub fn get_or(&mut self, hash: &str, ask: impl FnOnce() -> Result<Listing>) -> Result<Listing> {
        let listing = match self.earlier.get(hash) {
            Some(listing) => listing.clone(),
            None => ask()?,
        };
        self.now.insert(hash.into(), listing.clone());
        Ok(listing)
    }

    /// Keeps what this run saw, and nothing of binaries that are gone.
    pub fn keep(self) -> Result<()> {
        if self.now == self.earlier {
            return Ok(());
        }
        let write = || -> Result<()> {
            let folder = self.path.parent().context("it has no folder")?;
            // Under a name of its own until it is whole: other runs read and write it too.
            let file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer(&file, &Kept { version: VERSION, lists: self.now })?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::listing::Listed;
    use super::super::word::Word;
    use super::*;

    fn listing(name: &str) -> Listing {
        let cases = vec![Listed { name: name.into(), ignored: true }];
        Listing { cases, listed: 2, word: Word::LogFile }
    }

    fn kept(path: &Path, hash: &str) -> Option<Listing> {
        Lists::read(path).get_or(hash, || anyhow::bail!("it is asked")).ok()
    }

    #[test]
    fn a_binary_is_asked_once() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lists.json");
        let mut lists = Lists::read(&path);
        assert_eq!(lists.get_or("a", || Ok(listing("one")))?, listing("one"));
        assert_eq!(lists.get_or("b", || Ok(listing("two")))?, listing("two"));
        lists.keep()?;
        assert_eq!(kept(&path, "a"), Some(listing("one")));
        assert_eq!(kept(&path, "c"), None);

        // What is gone is forgotten.
        let mut lists = Lists::read(&path);
        lists.get_or("b", || anyhow::bail!("it is asked"))?;
        lists.keep()?;
        assert_eq!((kept(&path, "a"), kept(&path, "b")), (None, Some(listing("two"))));
        assert_eq!(fs::read_dir(dir.path())?.count(), 1);
        Ok(())
    }

    #[test]
    fn what_is_not_whole_is_not_believed() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lists.json");
        let mut lists = Lists::read(&path);
        lists.get_or("a", || Ok(listing("one")))?;
        lists.keep()?;
        let whole = fs::read(&path)?;
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length])?;
            assert_eq!(kept(&path, "a"), None, "the first {length} bytes");
        }
        let other = String::from_utf8(whole)?.replace("\"version\":1", "\"version\":2");
        fs::write(&path, other)?;
        assert_eq!(kept(&path, "a"), None);
        Ok(())
    }
}
