//! What was built of a suite, as one file with an index: guests are sent parts of it.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tar::{Builder, HeaderMode};
use uml_protocol::wire::Hash;

use crate::guest::Program;
use crate::store::{Entry, sha256};

/// The files of an entry of the store: what was built, and what is in it.
pub const ARCHIVE: &str = "suite.tar";
const INDEX: &str = "index.json";

/// What a suite's archive has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    /// Its path in the suite's folder.
    path: String,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Content {
    /// An executable file: where it begins in the archive, and its size, in bytes.
    Program { begin: u64, size: u64, hash: Hash },
    /// Another file, in the same words.
    File { begin: u64, size: u64 },
    /// A symbolic link.
    Link { to: String },
    /// A folder, which may be empty.
    Folder,
}

/// What was built of a suite.
#[derive(Debug)]
pub struct Archive {
    members: Vec<Member>,
    file: Arc<File>,
    /// Nobody prunes it while this lives.
    _entry: Entry,
}

/// What a suite has beside programs.
#[derive(Debug)]
pub enum Other {
    /// A file, with its contents.
    File(Vec<u8>),
    /// A symbolic link.
    Link(PathBuf),
    /// A folder.
    Folder,
}

impl Archive {
    /// That of an entry.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_entry(entry: Entry) -> Result<Self> {
        let index = entry.path().join(INDEX);
        let text = fs::read(&index).with_context(|| format!("cannot read {}", index.display()))?;
        let members: Vec<Member> = serde_json::from_slice(&text)
            .with_context(|| format!("{} cannot be understood", index.display()))?;
        let path = entry.path().join(ARCHIVE);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { members, file: Arc::new(file), _entry: entry })
    }

    /// The executable files, sorted, with their paths.
    pub fn programs(&self) -> impl Iterator<Item = (&str, Program)> {
        self.members.iter().filter_map(|Member { path, content }| {
            let Content::Program { begin, size, hash } = content else { return None };
            Some((path.as_str(), Program::within(&self.file, *begin, *size, *hash)))
        })
    }

    /// All else, with its paths.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn others(&self) -> Result<Vec<(&str, Other)>> {
        let mut others = Vec::new();
        for Member { path, content } in &self.members {
            let other = match content {
                Content::Program { .. } => continue,
                Content::Link { to } => Other::Link(to.into()),
                Content::Folder => Other::Folder,
                Content::File { begin, size } => Other::File(self.read(path, *begin, *size)?),
            };
            others.push((path.as_str(), other));
        }
        Ok(others)
    }

    /// The text of a file, if there is one at that path.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn text_of(&self, wanted: &str) -> Result<Option<String>> {
        let found = self.members.iter().find(|member| member.path == wanted);
        let Some(Member { path, content: Content::File { begin, size } }) = found else {
            return Ok(None);
        };
        let bytes = self.read(path, *begin, *size)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn read(&self, path: &str, begin: u64, size: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(size).context("a file is too large")?];
        let read = self.file.read_exact_at(&mut bytes, begin);
        read.with_context(|| format!("cannot read {path} of a suite"))?;
        Ok(bytes)
    }
}

/// Packs a folder into an entry; the number of programs that it has.
pub fn pack(folder: &Path, entry: &Path) -> Result<usize> {
    let path = entry.join(ARCHIVE);
    let what = || format!("cannot write {}", path.display());
    let file = File::create_new(&path).with_context(what)?;
    let mut archive = Builder::new(BufWriter::new(file));
    archive.mode(HeaderMode::Deterministic);
    archive.follow_symlinks(false);
    archive.append_dir_all(".", folder).with_context(what)?;
    let mut file = archive.into_inner().with_context(what)?;
    file.flush().with_context(what)?;
    let members = index(&path)?;
    let path = entry.join(INDEX);
    fs::write(&path, serde_json::to_vec_pretty(&members)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let programs = members.iter().filter(|one| matches!(one.content, Content::Program { .. }));
    Ok(programs.count())
}

/// What an archive has, sorted.
fn index(path: &Path) -> Result<Vec<Member>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut archive = tar::Archive::new(file);
    let mut members = Vec::new();
    for found in archive.entries().context("cannot read what was packed")? {
        let mut found = found.context("cannot read what was packed")?;
        let place = found.path()?.into_owned();
        let place = place.strip_prefix(".").unwrap_or(&place);
        let path = place
            .to_str()
            .with_context(|| format!("{} is no UTF-8: guests cannot have it", place.display()))?
            .to_owned();
        let (begin, size) = (found.raw_file_position(), found.size());
        let kind = found.header().entry_type();
        let content = if kind.is_dir() {
            Content::Folder
        } else if kind.is_symlink() {
            let to = found.link_name()?.context("a link leads somewhere")?;
            Content::Link { to: to.to_string_lossy().into_owned() }
        } else if !kind.is_file() {
            bail!("{path} is neither a file nor a folder nor a link: guests cannot have it")
        } else if found.header().mode()? & 0o111 != 0 {
            Content::Program { begin, size, hash: sha256(&mut found)? }
        } else {
            Content::File { begin, size }
        };
        members.push(Member { path, content });
    }
    members.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(members)
}
