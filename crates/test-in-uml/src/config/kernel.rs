//! `[workspace.metadata.uml.kernels.NAME]`: where a kernel comes from, and how it is configured.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::one_or_more;
use crate::layout::Layout;

/// `[workspace.metadata.uml.kernels.NAME]`: one kernel.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kernel {
    /// The source as a Debian package.
    #[serde(default)]
    pub debian: Option<DebianSource>,
    /// The source as archives, any of which will do, in order of preference.
    #[serde(default)]
    pub tarballs: Vec<Tarball>,
    /// The source as a tree of the user's own, relative to the workspace's root; nothing is written into it.
    #[serde(default)]
    pub tree: Option<PathBuf>,
    /// The kernel that this one is a variant of: it has the same source and start, and its own
    /// fragments and patches come after those of the other.
    #[serde(default)]
    pub base: Option<String>,
    /// The configuration that the fragments are laid upon.
    #[serde(default)]
    pub start: Start,
    /// Names of fragments in `kconfig/`, merged in this order.
    pub fragments: Vec<String>,
    /// Names of patch series in `kernel-patches/`, applied in this order; a name alone is one of them.
    #[serde(default, deserialize_with = "one_or_more")]
    pub patches: Vec<String>,
    /// More arguments for its command line, such as `page_poison=1`; those of a variant come after those of its base.
    #[serde(default)]
    pub append: Vec<String>,
    /// What its kernel complains of at each boot, and no run is red for: a text of any line of such a
    /// complaint.
    #[serde(default)]
    pub known_boot_complaints: Vec<String>,
}

impl Kernel {
    /// Where its tree is, if that is its source.
    pub(crate) fn tree_of(&self, layout: &Layout) -> Option<PathBuf> {
        self.tree.as_ref().map(|tree| layout.root().join(tree))
    }

    /// The name that the source of the kernel `name` is locked under: that of its base for a variant.
    pub fn source_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.base.as_deref().unwrap_or(name)
    }
}

/// Checks one argument of a kernel. User Mode Linux writes them into one line, by blanks apart.
///
/// # Errors
/// When it is not one, or another word of the configuration or of the command line is for that.
pub fn kernel_argument(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("an argument has no blanks: give `--append` once for each".into());
    }
    match text.split('=').next() {
        Some("mem") => Err("the guest's memory is for `--memory`, or for `memory`".into()),
        Some(name) if name.starts_with("ubd") => Err("the guest's disks are for `--disk`".into()),
        _ => Ok(text.into()),
    }
}

/// A kernel's source as Debian packages it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DebianSource {
    /// The suite, for example `bookworm-security`.
    pub suite: String,
    /// The binary package with the source, for example `linux-source-6.12`.
    pub package: String,
    /// Where the suite comes from; the default follows from the suite's name.
    #[serde(default)]
    pub mirror: Option<String>,
    /// The keys that the suite is signed with, relative to the workspace's root; the default is
    /// Debian's own.
    #[serde(default)]
    pub keyring: Option<PathBuf>,
}

/// An archive of a kernel's source.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tarball {
    /// `http`, `https` or `file`.
    pub url: String,
    /// The archive's hash, the only thing that is trusted, in lowercase hexadecimal.
    pub sha256: String,
}

/// The configuration that fragments are laid upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Everything off that can be off: the quickest build.
    #[default]
    Allnoconfig,
    /// The architecture's own choice.
    Defconfig,
}

impl Start {
    /// The make target of that name.
    pub fn target(self) -> &'static str {
        match self {
            Start::Allnoconfig => "allnoconfig",
            Start::Defconfig => "defconfig",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_one_and_no_other_flags() {
        assert_eq!(kernel_argument("loglevel=8").unwrap(), "loglevel=8");
        assert_eq!(kernel_argument("quiet").unwrap(), "quiet");
        for (text, flag) in
            [("a b", "--append"), ("", "--append"), ("mem=1G", "--memory"), ("ubdb=/x", "--disk")]
        {
            let error = kernel_argument(text).unwrap_err();
            assert!(error.contains(flag), "{text:?}: {error}");
        }
    }
}
