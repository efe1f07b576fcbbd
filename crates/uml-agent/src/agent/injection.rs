//! Failures that are put into what a case asks of the kernel (Documentation/fault-injection/fault-injection.rst).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use uml_agent::debugfs::Debugfs;
use uml_protocol::wire::Injection;

/// What the processes are told by that are meant, and those that they start.
pub const MARK: &std::ffi::CStr = c"/proc/self/make-it-fail";

/// The kind for which the disks are told too that are meant.
const OF_DISKS: &str = "fail_make_request";

/// Where the kernel has its disks, and that of the root file system.
const DISKS: &str = "/sys/block";
const ROOT_DISK: &str = "ubda";

/// Failures are injected for as long as this lives.
pub struct Injected {
    debugfs: Debugfs,
    kinds: Vec<String>,
}

impl Injected {
    /// Has these fail in processes with the mark.
    pub fn begin(injections: &[Injection]) -> Result<Option<Self>> {
        if injections.is_empty() {
            return Ok(None);
        }
        let debugfs = Debugfs::mount().context("cannot mount the debugfs")?;
        let debugfs = debugfs.context("this kernel has no debugfs")?;
        let mut injected = Self { debugfs, kinds: Vec::new() };
        for Injection { kind, interval, space } in injections {
            let set = |name, value: &str| set(&injected.folder(kind), name, value);
            set("task-filter", "Y")?;
            set("interval", &interval.to_string())?;
            set("space", &space.to_string())?;
            set("times", "-1")?;
            // Each with where it was.
            set("verbose", "2")?;
            // Not all kinds have them: requests that may wait fail too, and those of single pages.
            for (name, value) in [("ignore-gfp-wait", "N"), ("min-order", "0")] {
                if injected.folder(kind).join(name).exists() {
                    set(name, value)?;
                }
            }
            set("probability", "100")?;
            injected.kinds.push(kind.clone());
        }
        if injected.kinds.iter().any(|kind| kind == OF_DISKS) {
            tell_disks("1");
        }
        Ok(Some(injected))
    }

    fn folder(&self, kind: &str) -> PathBuf {
        self.debugfs.path(kind)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        for kind in &self.kinds {
            let _ = set(&self.folder(kind), "probability", "0");
        }
        if self.kinds.iter().any(|kind| kind == OF_DISKS) {
            tell_disks("0");
        }
    }
}

fn set(folder: &Path, name: &str, value: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, value).with_context(|| format!("cannot write {}", path.display()))
}

/// Tells the disks whether they are meant. The root file system would be read-only after its first failure.
fn tell_disks(value: &str) {
    for disk in fs::read_dir(DISKS).into_iter().flatten().flatten() {
        if disk.file_name() != ROOT_DISK {
            let _ = fs::write(disk.path().join("make-it-fail"), value);
        }
    }
}
