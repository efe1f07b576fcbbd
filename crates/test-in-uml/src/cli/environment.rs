//! What we and all that we start inherit, set right before anything depends on it.

use std::path::Path;

use crate::ui::to_stderr;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{AccessFlags, faccessat};

/// Call this before there are threads.
pub(super) fn settle() {
    // A file beyond `ulimit -f` is then an error with a name, and no silent death (setrlimit(2)).
    // SAFETY: no handler runs, so that none can do what a handler must not.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    let Some(dir) = std::env::var_os("TMPDIR") else { return };
    if let Some(why) = unfit(Path::new(&dir)) {
        to_stderr(&format!("warning: TMPDIR={} {why}: /tmp is used", dir.to_string_lossy()));
        // SAFETY: there are no threads yet that could read the environment meanwhile.
        unsafe { std::env::remove_var("TMPDIR") };
    }
}

/// Why compilers and package managers could not use a folder, each in words of its own.
fn unfit(dir: &Path) -> Option<String> {
    if dir.is_relative() {
        return Some("is not an absolute path".into());
    }
    if !dir.is_dir() {
        return Some("is no folder".into());
    }
    let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
    let refused = faccessat(AT_FDCWD, dir, wanted, AtFlags::AT_EACCESS).err()?;
    Some(format!("cannot be written to ({})", refused.desc()))
}
