//! The kernel under test: its release, its log, its configuration.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use nix::libc;

use super::skip;
pub use uml_agent::release::{Release, release};

/// The whole kernel log, by syslog(2): before 3.5 /dev/kmsg could only be written.
///
/// # Errors
/// When the kernel refuses.
pub fn kernel_log() -> Result<String> {
    const READ_ALL: libc::c_int = 3;
    let mut bytes = vec![0_u8; 1 << 20];
    let room = libc::c_int::try_from(bytes.len())?;
    // SAFETY: the buffer has room for as many bytes as the call is told.
    let count = unsafe { libc::klogctl(READ_ALL, bytes.as_mut_ptr().cast(), room) };
    let count = nix::errno::Errno::result(count).context("cannot read the kernel log")?;
    Ok(String::from_utf8_lossy(&bytes[..usize::try_from(count)?]).into_owned())
}

/// The value of a configuration symbol of the running kernel, for example `y` for `CONFIG_NET`;
/// nothing if it is not set.
///
/// # Errors
/// When /proc/config.gz cannot be read.
pub fn config(symbol: &str) -> Result<Option<String>> {
    static CONFIG: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    let config = match CONFIG.get() {
        Some(config) => config,
        None => {
            let read = read_config()?;
            CONFIG.get_or_init(|| read)
        }
    };
    Ok(config.get(symbol).cloned())
}

/// Returns true if the running kernel has what a symbol of its configuration stands for, built in or as a module, for example
/// `NF_TABLES`. If not, the case is skipped with that reason, and the run says which fragment would bring it: return from the
/// test.
///
/// # Errors
/// When /proc/config.gz cannot be read.
pub fn needs(symbol: &str) -> Result<bool> {
    let symbol = symbol.strip_prefix("CONFIG_").unwrap_or(symbol);
    let name = format!("CONFIG_{symbol}");
    let has = config(&name)?.is_some_and(|value| value != "n");
    if !has {
        skip(&format!("needs {name}"));
    }
    Ok(has)
}

fn read_config() -> Result<BTreeMap<String, String>> {
    let packed = File::open("/proc/config.gz").context("cannot open /proc/config.gz")?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_string(&mut text)
        .context("cannot unpack /proc/config.gz")?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// A parameter of the kernel's command line.
///
/// # Errors
/// When /proc/cmdline cannot be read.
pub fn parameter(name: &str) -> Result<Option<String>> {
    let line = fs::read_to_string("/proc/cmdline").context("cannot read /proc/cmdline")?;
    let mut pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
    Ok(pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned()))
}
