//! `clean`: what can be built again, removed; nothing that a run is using.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::ctx::Ctx;

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
    let mut freed = 0;
    if let What::UnusedFor(time) = what {
        freed += ctx.store.prune(time)?;
    } else {
        for dir in ctx.layout.checkout_dirs() {
            freed += remove(&dir)?;
        }
    }
    if what == What::Store {
        freed += ctx.store.prune(Duration::ZERO)?;
        for dir in ctx.layout.shared_dirs() {
            freed += remove(&dir)?;
        }
    }
    ctx.ui.say(&format!("{:>12} {} MiB", "freed", freed >> 20));
    Ok(())
}

fn remove(dir: &Path) -> Result<u64> {
    if !dir.exists() {
        return Ok(0);
    }
    let size = fs_extra::dir::get_size(dir).unwrap_or(0);
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    Ok(size)
}
