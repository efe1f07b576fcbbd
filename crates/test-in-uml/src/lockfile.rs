//! `uml.lock`: what was resolved, so that the same checkout gives the same kernel and image.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::ctx::{Ctx, Locking};

/// The format's version.
const VERSION: u32 = 1;

/// The lock file's contents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// The source of each kernel that comes as a Debian package.
    #[serde(default)]
    pub kernels: BTreeMap<String, LockedKernel>,
    /// The packages of each bootstrapped suite.
    #[serde(default)]
    pub rootfs: BTreeMap<String, LockedRootfs>,
}

/// The source of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LockedKernel {
    /// The Debian suite; another one means that the rest is resolved again.
    pub suite: String,
    /// The Debian package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The hash of the source archive in it.
    pub sha256: String,
}

/// A bootstrapped suite.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRootfs {
    /// The version of each package, asked for or needed by one that was.
    pub packages: BTreeMap<String, String>,
}

impl Default for Lock {
    fn default() -> Self {
        Self { version: VERSION, kernels: BTreeMap::new(), rootfs: BTreeMap::new() }
    }
}

/// Reads the lock file; a checkout that has none resolves everything.
///
/// # Errors
/// When it cannot be read, or is of another version.
pub fn read(ctx: &Ctx) -> Result<Lock> {
    let path = ctx.layout.lock_file();
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).with_context(|| format!("in {}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Lock::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn parse(text: &str) -> Result<Lock> {
    let lock: Lock = toml::from_str(text).context("remove it to resolve everything anew")?;
    ensure!(
        lock.version == VERSION,
        "version {} of the lock file is not one that this checkout reads ({VERSION})",
        lock.version
    );
    Ok(lock)
}

/// Changes the lock file, whole or not at all; `what` says what is different, for `--locked`.
///
/// # Errors
/// When the lock file must not change, or cannot be written.
pub fn update(ctx: &Ctx, what: &str, change: impl FnOnce(&mut Lock)) -> Result<()> {
    let path = ctx.layout.lock_file();
    // Two runs of one checkout may resolve at the same time.
    let guard = ctx.layout.runs().join("lock-file.lock");
    fs::create_dir_all(ctx.layout.runs()).context("cannot make the folder of runs")?;
    let guard = File::create(&guard).with_context(|| format!("cannot make {}", guard.display()))?;
    guard.lock().context("cannot lock the lock file")?;
    let old = read(ctx)?;
    let mut new = old.clone();
    change(&mut new);
    if new == old {
        return Ok(());
    }
    ensure!(
        ctx.options.locking == Locking::Update,
        "{what}, and --locked forbids to write that to {}",
        path.display()
    );
    let text = toml::to_string_pretty(&new).context("cannot write the lock file")?;
    let text = format!("# Written by cargo xtask; commit it, so that others get the same.\n{text}");
    // One name for all, which the guard is for: what a killed run left of it is overwritten.
    let partial = path.with_extension("lock.partial");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    ctx.ui.say(&format!("{:>12} {} ({what})", "lock", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_is_read_as_it_is_written() {
        let mut lock = Lock::default();
        let package = ("acl".to_owned(), "2.3.1-3".to_owned());
        lock.rootfs.entry("bookworm".into()).or_default().packages.extend([package]);
        let text = toml::to_string_pretty(&lock).unwrap();
        assert_eq!(parse(&text).unwrap(), lock);
    }

    #[test]
    fn a_lock_file_of_another_version_is_refused() {
        let error = parse("version = 2").unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
        assert!(parse("version = 1\nrubbish = 3").is_err());
    }
}

#[cfg(test)]
mod fuzz {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn kernel() -> impl Strategy<Value = LockedKernel> {
        [".*", ".*", ".*", ".*"].prop_map(|[suite, package, version, sha256]| LockedKernel {
            suite,
            package,
            version,
            sha256,
        })
    }

    proptest! {
        #[test]
        fn any_lock_is_read_as_it_is_written(
            kernels in btree_map(".*", kernel(), 0..3),
            packages in btree_map("\\PC*", "\\PC*", 0..3),
        ) {
            let rootfs = [("bookworm".to_owned(), LockedRootfs { packages })].into();
            let lock = Lock { version: VERSION, kernels, rootfs };
            prop_assert_eq!(parse(&toml::to_string_pretty(&lock).unwrap()).unwrap(), lock);
        }

        #[test]
        fn a_lock_file_is_read_or_refused(words in vec(select(&[
            "version", "=", "1", "\n", "[", "]", "kernels", ".", "\"6.12\"", "rootfs", "packages", "suite", "sha256",
            "'", "\"", "{", "}", ",", "#", "ä", "99999999999999999999", "\\", " ",
        ][..]), 0..30)) {
            let _ = parse(&words.concat());
            if let Ok(lock) = parse(&format!("version = 1\n{}", words.concat())) {
                prop_assert_eq!(parse(&toml::to_string_pretty(&lock).unwrap()).unwrap(), lock);
            }
        }
    }
}
