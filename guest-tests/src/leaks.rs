//! Memory of the kernel that nothing points to any more.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::mounts::{Mount, mounts};

const DEBUGFS: &str = "/sys/kernel/debug";

/// What is younger is not reported (kmemleak.rst: `jiffies_min_age`).
const MINIMAL_AGE: Duration = Duration::from_secs(6);

/// Has the kernel look for memory that was lost, if it can (CONFIG_DEBUG_KMEMLEAK): it then
/// complains of what it finds, and the case fails. It takes some seconds; elsewhere it does nothing.
///
/// # Errors
/// When the kernel refuses.
pub fn scan_for_leaks() -> Result<()> {
    if crate::config("CONFIG_DEBUG_KMEMLEAK")?.is_none() {
        return Ok(());
    }
    let mounted = mounts()?.iter().any(|entry| entry.place == Path::new(DEBUGFS));
    let _mount = match mounted {
        true => None,
        false => Some(Mount::new(Path::new("debugfs"), Path::new(DEBUGFS), "debugfs")?),
    };
    std::thread::sleep(MINIMAL_AGE);
    let control = Path::new(DEBUGFS).join("kmemleak");
    // The second scan reports what the first one found, if it has not changed meanwhile.
    for _ in 0..2 {
        fs::write(&control, "scan")
            .with_context(|| format!("cannot write {}", control.display()))?;
    }
    Ok(())
}
