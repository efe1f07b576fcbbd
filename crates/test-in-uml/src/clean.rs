//! `clean`: what can be built again, removed; nothing that a run is using.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::ctx::Ctx;
use crate::fetch;
use crate::store::Kind;

/// What is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// What belongs to this checkout: kernel trees, guest programs, run folders.
    Checkout,
    /// What checkouts share as well: downloads, kernels, images.
    Store,
    /// What checkouts share and no run has used for so long.
    UnusedFor(Duration),
}

/// Removes it, and says how much room that made.
///
/// # Errors
/// When something of ours cannot be removed.
pub fn clean(ctx: &Ctx, what: What) -> Result<()> {
    let freed = match what {
        What::Checkout => checkout(ctx)?,
        What::Store => checkout(ctx)? + ctx.store.prune(Duration::ZERO)? + beside_store(ctx)?,
        What::UnusedFor(time) => ctx.store.prune(time)?,
    };
    ctx.ui.say(&format!("{:>12} {} MiB", "freed", freed >> 20));
    Ok(())
}

fn checkout(ctx: &Ctx) -> Result<u64> {
    let lock = ctx.checkout_lock()?;
    if lock.try_lock().is_err() {
        ctx.ui.warn("another run of this checkout goes on: its kernel trees and programs stay");
        return Ok(0);
    }
    ctx.layout.checkout_dirs().iter().map(|dir| remove(dir)).sum()
}

/// Removes what checkouts share beside the store.
fn beside_store(ctx: &Ctx) -> Result<u64> {
    // What is measured or remembered here is found again, and nobody holds it open.
    let mut freed = remove(&ctx.layout.facts())?;
    for dir in fs::read_dir(ctx.layout.all_apt()).into_iter().flatten().flatten() {
        let suite = dir.file_name().to_string_lossy().into_owned();
        if let Some(_lock) = ctx.store.try_request(Kind::Download, &fetch::apt_request(&suite))? {
            freed += remove(&dir.path())?;
        }
    }
    Ok(freed)
}

fn remove(dir: &Path) -> Result<u64> {
    if !dir.exists() {
        return Ok(0);
    }
    let size = fs_extra::dir::get_size(dir).unwrap_or(0);
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    Ok(size)
}
