//! The default kernel: the first of the configured ones whose source can be reached.
//!
//! Only a source that nobody could be asked for leads to the next: after a wrong hash, a patch that
//! does not fit or a build that fails, another kernel would be a downgrade.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::binary::KernelBinary;
use super::build::{build, stored};
use crate::config::Kernel;
use crate::ctx::{Ctx, Locking, NetworkAccess};
use crate::fetch::{self, Unreachable};
use crate::invocation;
use crate::store::hex;

/// Builds it. Also gives a line for each kernel that was passed over.
///
/// A source that could not be reached once is not asked for again until [`fetch_default`]: the wait
/// would be the same at each run.
///
/// # Errors
/// As [`build`], or when no source can be reached.
pub fn build_default(ctx: &Ctx) -> Result<(KernelBinary, Vec<String>)> {
    first_reachable(ctx, |name, kernel| match UnreachableNote::of(ctx, kernel)?.read() {
        None => build(ctx, name, kernel),
        // It may have come by another way since.
        Some(why) => stored(ctx, name, kernel)?.ok_or_else(|| Remembered(why).into()),
    })
}

/// Fetches its source, and asks every place again; says where it is.
///
/// # Errors
/// As [`fetch::source`], or when no source can be reached.
pub fn fetch_default(ctx: &Ctx) -> Result<PathBuf> {
    Ok(first_reachable(ctx, |name, kernel| source_path(ctx, name, kernel))?.0)
}

/// Where the source of a kernel is, fetched if that is not here: its tree, or its archive.
///
/// # Errors
/// As [`fetch::source`].
pub fn source_path(ctx: &Ctx, name: &str, kernel: &Kernel) -> Result<PathBuf> {
    match kernel.tree_of(&ctx.layout) {
        Some(tree) => Ok(tree),
        None => Ok(fetch::source(ctx, name, kernel)?.path),
    }
}

/// An earlier run could not reach a source, for this reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Remembered(String);

fn first_reachable<T>(
    ctx: &Ctx,
    mut get: impl FnMut(&str, &Kernel) -> Result<T>,
) -> Result<(T, Vec<String>)> {
    let mut passed_over = Vec::new();
    for name in &ctx.config.kernel {
        let kernel = ctx.config.kernel_named(name)?;
        let error = match get(name, kernel) {
            Ok(got) => {
                UnreachableNote::of(ctx, kernel)?.forget();
                return Ok((got, passed_over));
            }
            // The lock file pins a source of each kernel, and not which of them is to be tested.
            Err(error) if ctx.options.locking == Locking::Locked => {
                return Err(error.context(format!(
                    "kernel {name} cannot be had, and --locked takes no other in its place: name one \
                     with --kernel"
                )));
            }
            Err(error) => error,
        };
        let why = match (error.downcast_ref(), error.downcast_ref()) {
            (Some(Unreachable { reasons, .. }), _) => {
                let tried = reasons.len();
                let last = reasons.last().map_or("", String::as_str);
                let why = format!("all {tried} downloads failed; the last: {last}");
                // What is not tried now may be reached later.
                if ctx.options.network == NetworkAccess::Online {
                    UnreachableNote::of(ctx, kernel)?.keep(&why);
                }
                why
            }
            (_, Some(Remembered(why))) => {
                format!("{why} (remembered until `{} fetch`)", invocation::command())
            }
            _ => return Err(error),
        };
        let line = format!("skipping kernel {name}: {why}");
        ctx.ui.warn(&line);
        passed_over.push(line);
    }
    bail!("no default kernel can be had:\n  {}", passed_over.join("\n  "))
}

/// What is remembered of a source that could not be reached.
struct UnreachableNote(PathBuf);

impl UnreachableNote {
    fn of(ctx: &Ctx, kernel: &Kernel) -> Result<Self> {
        let source = serde_json::to_vec(&(&kernel.debian, &kernel.tarballs))
            .context("cannot write a source")?;
        Ok(Self(ctx.layout.unreachable(&hex(&Sha256::digest(source)[..8]))))
    }

    fn read(&self) -> Option<String> {
        fs::read_to_string(&self.0).ok().filter(|why| !why.is_empty())
    }

    /// What cannot be kept is asked for again, and nothing else comes of it.
    fn keep(&self, why: &str) {
        if let Some(dir) = self.0.parent() {
            let _ = fs::create_dir_all(dir);
        }
        let _ = fs::write(&self.0, why);
    }

    fn forget(&self) {
        let _ = fs::remove_file(&self.0);
    }
}
