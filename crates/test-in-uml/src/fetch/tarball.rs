//! Archives by URL: whichever comes, its hash is the only thing that is trusted.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::http::NoAnswer;
use super::{Client, SourceArchive, SourceRecipe, Unreachable};
use crate::config::Tarball;
use crate::store::{Kind, Store, sha256_of};
use crate::ui::Ui;

/// What came is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("wrong hash: expected {expected}, got {got}{hint}")]
struct WrongHash {
    expected: String,
    got: String,
    hint: &'static str,
}

/// The first of `tarballs` that the store has or a URL gives.
///
/// # Errors
/// [`Unreachable`] when no host could be resolved or connected to; another error when one answered, and
/// none gave what it should, or what came cannot be kept.
pub fn fetch(
    store: &Store,
    ui: &Ui,
    client: &Client,
    tarballs: &[Tarball],
) -> Result<SourceArchive> {
    for tarball in tarballs {
        let file = file_name(&tarball.url)?;
        let recipe = SourceRecipe { file, sha256: &tarball.sha256 };
        if let Some(archive) = recipe.stored(store, file)? {
            return Ok(archive);
        }
    }
    let (mut reasons, mut wrong, mut silence) = (Vec::new(), false, true);
    for tarball in tarballs {
        let error = match fetch_one(store, ui, client, tarball) {
            Ok(archive) => {
                reasons.iter().for_each(|reason: &String| ui.warn(reason));
                return Ok(archive);
            }
            Err(error) => error,
        };
        wrong |= error.is::<WrongHash>();
        silence &= error.downcast_ref().is_some_and(|answer: &NoAnswer| answer.is_silence);
        if !error.is::<NoAnswer>() && !error.is::<WrongHash>() {
            return Err(error.context(format!("cannot fetch {}", tarball.url)));
        }
        reasons.push(format!("{}: {}", tarball.url, error.root_cause()));
    }
    let what = tarballs.first().map_or("a kernel", |tarball| &tarball.url);
    let what = what.rsplit('/').next().unwrap_or(what).to_owned();
    if wrong {
        bail!("no source of {what} is what it should be:\n  {}", reasons.join("\n  "));
    }
    if !silence {
        bail!("no place gives {what}:\n  {}", reasons.join("\n  "));
    }
    Err(Unreachable { what, reasons }.into())
}

fn fetch_one(store: &Store, ui: &Ui, client: &Client, tarball: &Tarball) -> Result<SourceArchive> {
    let file = file_name(&tarball.url)?;
    let recipe = SourceRecipe { file, sha256: &tarball.sha256 };
    let entry = store.get_or_build(client.cancel(), Kind::Download, &recipe, |dir| {
        let partial = store.partial(Kind::Download, &recipe)?;
        let progress = |have, whole: Option<u64>| {
            let of = whole.map_or_else(String::new, |whole| format!(" of {}", whole >> 20));
            ui.status(&format!("fetch: {file}, {}{of} MiB", have >> 20));
        };
        let resumed = fs::metadata(&partial).is_ok_and(|meta| meta.len() > 0);
        let mut done = take(client, tarball, &partial, progress);
        if resumed && done.as_ref().is_err_and(|error| error.is::<WrongHash>()) {
            // What an earlier run left may be of another file.
            done = take(client, tarball, &partial, progress);
        }
        done?;
        fs::rename(&partial, dir.join(file)).context("cannot keep what was fetched")
    })?;
    Ok(recipe.archive(entry, file))
}

/// Fetches what is missing of the archive. What is wrong goes; what was cut stays, for next time.
fn take(
    client: &Client,
    tarball: &Tarball,
    partial: &Path,
    progress: impl Fn(u64, Option<u64>),
) -> Result<()> {
    let whole = fs::metadata(partial).is_ok_and(|meta| meta.len() > 0)
        && verify(partial, &tarball.sha256).is_ok();
    if whole {
        return Ok(());
    }
    client.fetch(&tarball.url, partial, progress)?;
    verify(partial, &tarball.sha256).inspect_err(|error| {
        if error.is::<WrongHash>() {
            let _ = fs::remove_file(partial);
        }
    })
}

fn verify(path: &Path, expected: &str) -> Result<()> {
    let got = sha256_of(path)?;
    if got == expected {
        return Ok(());
    }
    let mut head = [0];
    let first = File::open(path).and_then(|mut file| file.read(&mut head));
    let hint = match (fs::metadata(path).map(|meta| meta.len()), first) {
        (Ok(0), _) => "; it is empty",
        (_, Ok(1)) if head == *b"<" => "; it looks like a web page, of a login or a proxy",
        _ => "",
    };
    Err(WrongHash { expected: expected.into(), got, hint }.into())
}

/// The last part of a URL's path, by which the store's entry shows what it is.
fn file_name(url: &str) -> Result<&str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        bail!("{url} is not a URL: write http://, https:// or file:///");
    };
    if !matches!(scheme, "http" | "https" | "file") {
        bail!("{url}: fetch knows http, https and file, not {scheme}");
    }
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    // A hidden name, or one that the store itself uses, would be in its way.
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-~".contains(c));
    Ok(if path.contains('/') && plain && name.contains(".t") { name } else { "source.tar" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_named_after_its_url() {
        let name = |url| file_name(url).unwrap();
        assert_eq!(name("https://h/v3.x/linux-3.0.tar.xz"), "linux-3.0.tar.xz");
        assert_eq!(name("https://h/linux.tgz?x=/y"), "linux.tgz");
        for odd in ["https://h", "https://h/", "file:///a%20b.tar", "http://h/stamp.json"] {
            assert_eq!(name(odd), "source.tar", "{odd}");
        }
    }

    #[test]
    fn only_three_schemes_are_known() {
        for wrong in ["ftp://h/a.tar", "/a.tar", "a.tar"] {
            let error = file_name(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("http"), "{error}");
        }
    }
}
