//! The source of a kernel: a Debian package by apt, or an archive by its hash.
//!
//! What is fetched once lies in the store, and is found there without asking anybody.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use crate::config::Kernel;
use crate::ctx::{Ctx, NetworkAccess};
use crate::store::{Entry, Kind, Store, sha256_of};

mod apt;
mod debian;
mod http;
mod tarball;

pub(crate) use debian::request as apt_request;
pub use http::{Client, Patience};
pub use tarball::fetch as tarball;

/// A kernel's source as it came, compressed. While this lives, nobody prunes it.
#[derive(Debug)]
pub struct SourceArchive {
    /// Where it is.
    pub path: PathBuf,
    /// Its hash, in lowercase hexadecimal.
    pub sha256: String,
    /// The version of the Debian package, or the name of the archive.
    pub version: String,
    _entry: Option<Entry>,
}

/// No host that a source may come from could be resolved or connected to: another kernel may do. One that
/// answers, be it "not found", and a wrong hash or signature are never this.
#[derive(Debug, thiserror::Error)]
#[error(
    "no source of {what} can be reached:\n  {}\n  `--tarball PATH` or `--tree PATH` takes it from \
     this machine, and https_proxy is honoured",
    reasons.join("\n  ")
)]
pub struct Unreachable {
    /// What was looked for.
    pub what: String,
    /// One line for each place, with why.
    pub reasons: Vec<String>,
}

/// The source of the kernel called `name`: from the store, else from where `kernel` says.
///
/// # Errors
/// [`Unreachable`] when another kernel may be tried in its place; anything else means that the
/// source is not what it should be, or cannot be kept.
pub fn source(ctx: &Ctx, name: &str, kernel: &Kernel) -> Result<SourceArchive> {
    match &kernel.debian {
        Some(source) => debian::fetch(ctx, kernel.source_name(name), source),
        None => {
            let client = match ctx.options.network {
                NetworkAccess::Online => Client::new(Patience::default(), &ctx.cancel)?,
                NetworkAccess::Offline => Client::offline(&ctx.cancel),
            };
            tarball(&ctx.store, &ctx.ui, &client, &kernel.tarballs)
        }
    }
}

/// An archive of the user's own, used where it is.
///
/// # Errors
/// When it cannot be read.
pub fn local(path: &Path) -> Result<SourceArchive> {
    let version = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(SourceArchive { sha256: sha256_of(path)?, path: path.into(), version, _entry: None })
}

/// Why nothing is fetched when nothing may be.
const OFFLINE: &str = "--offline opens no connection";

/// What an entry of the store is known by.
#[derive(Debug, Serialize)]
struct SourceRecipe<'a> {
    file: &'a str,
    sha256: &'a str,
}

impl SourceRecipe<'_> {
    fn stored(&self, store: &Store, version: &str) -> Result<Option<SourceArchive>> {
        Ok(store.get(Kind::Download, self)?.map(|entry| self.archive(entry, version)))
    }

    fn archive(&self, entry: Entry, version: &str) -> SourceArchive {
        SourceArchive {
            path: entry.file(self.file),
            sha256: self.sha256.into(),
            version: version.into(),
            _entry: Some(entry),
        }
    }
}
