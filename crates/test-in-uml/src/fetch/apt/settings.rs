//! What apt is given in place of the host's configuration.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::config::DebianSource;
use crate::store::remove_tree;

/// What Debian signs its suites with; the package debian-archive-keyring brings it, under a name
/// that depends on its age.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// The one folder for temporary files. Who was killed has left it behind.
pub(super) fn temporary(dir: &Path) -> Result<TempDir> {
    remove_tree(&dir.join("tmp"))?;
    let made = tempfile::Builder::new().prefix("tmp").rand_bytes(0).tempdir_in(dir);
    made.context("cannot make a folder for apt")
}

pub(super) fn debians_keyring() -> Result<&'static str> {
    KEYRINGS.into_iter().find(|path| Path::new(path).exists()).with_context(|| {
        format!("{} is missing: install the package debian-archive-keyring", KEYRINGS[0])
    })
}

pub(super) fn own_keyring(path: &Path) -> Result<String> {
    let what = || format!("the keyring {}", path.display());
    fs::metadata(path).with_context(what)?;
    let text = path.to_str().filter(|text| !text.contains([' ', '\n', '[', ']', ',']));
    Ok(text.context("apt cannot use such a path").with_context(what)?.to_owned())
}

pub(super) fn mirror(source: &DebianSource) -> &str {
    match &source.mirror {
        Some(mirror) => mirror,
        None if source.suite.ends_with("-security") => "http://deb.debian.org/debian-security",
        None => "http://deb.debian.org/debian",
    }
}

/// One suite (sources.list(5)); a kernel's source is for all architectures.
pub(super) fn sources_list(source: &DebianSource, keyring: &str) -> String {
    format!("deb [arch=amd64 signed-by={keyring}] {} {} main\n", mirror(source), source.suite)
}

/// The configuration (apt.conf(5)); `network` is how the host reaches the world.
pub(super) fn configuration(dir: &Path, network: &str) -> Result<String> {
    let dir = dir.to_str().context("apt cannot use a cache whose path is not UTF-8")?;
    // Apt knows no way to write these in a value.
    if dir.contains(['"', '\n', '\\']) {
        bail!("apt cannot use the path {dir:?}: name another cache with UML_CACHE_DIR");
    }
    Ok(format!(
        r#"Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Etc::SourceList "{dir}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State "{dir}/state";
Dir::State::status "/dev/null";
Dir::Cache "{dir}/cache";
// What root runs is not given to _apt, who may not write here; others have no choice.
APT::Sandbox::User "root";
Acquire::Languages "none";
{network}Acquire::Retries "1";
Acquire::http::Timeout "10";
Acquire::https::Timeout "10";
"#
    ))
}

/// The host's own settings of how apt reaches the world, such as a proxy. The rest of the host's
/// configuration is not for us: hooks, pins, further lists.
pub(super) fn host_network() -> String {
    let dump = duct::cmd!("apt-config", "dump").stderr_null().read().unwrap_or_default();
    network_settings(&dump)
}

pub(super) fn network_settings(dump: &str) -> String {
    dump.lines()
        .filter(|line| line.starts_with("Acquire::http") && !line.ends_with(" \"\";"))
        .map(|line| format!("{line}\n"))
        .collect()
}
