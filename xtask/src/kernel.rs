//! From a kernel's source to a kernel binary: unpack, patch, configure, verify, build.

use std::path::PathBuf;

use crate::guest::Transport;

/// A kernel that was built.
#[derive(Debug)]
pub struct KernelBinary {
    /// Its name in the configuration.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// The configuration as built.
    pub config: PathBuf,
    /// The hash of what it was made from.
    pub key: String,
    /// How its guests reach their link.
    pub transport: Transport,
    /// The lines that the fragments asked for.
    pub requested: Vec<String>,
    /// Boot arguments of its era.
    pub era: Vec<&'static str>,
}
