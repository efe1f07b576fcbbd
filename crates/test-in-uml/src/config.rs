//! The configuration, `[workspace.metadata.uml]` of the workspace's `Cargo.toml`.
//!
//! A key that we do not know is an error that names its path and the nearest key that we do know.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::defaults;

mod byte_size;
mod check;
mod kernel;
mod known;
mod suite;
mod time;

pub use byte_size::ByteSize;
pub use check::{KUNIT, PROGRAM, RUST, check_memory};
pub use kernel::{DebianSource, Kernel, Start, Tarball, kernel_argument};
pub use known::Known;
pub use suite::{ResultBy, Suite};

/// What `[workspace.metadata.uml]` says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// Names of the default kernels.
    pub kernel: Vec<String>,
    /// Memory of one guest.
    #[serde(default)]
    pub memory: ByteSize,
    /// The time a guest may take from power-on to the agent's ready marker.
    #[serde(default = "seconds::<60>", with = "time")]
    pub boot_timeout: Duration,
    /// The time one case may take.
    #[serde(default = "seconds::<60>", with = "time")]
    pub case_timeout: Duration,
    /// The image's contents.
    pub rootfs: RootfsConfig,
    /// Which cargo packages have tests for guests.
    #[serde(default)]
    pub tests: Tests,
    /// Folders of out-of-tree kernel modules, relative to the workspace's root: they are built for
    /// each kernel under test, and cases load them.
    #[serde(default)]
    pub modules: Vec<PathBuf>,
    /// Suites of programs, each of which is a case.
    #[serde(default)]
    pub suites: BTreeMap<String, Suite>,
    /// Failures whose cause was found.
    #[serde(default)]
    pub known: BTreeMap<String, Known>,
    /// The kernels that `--kernel` can name.
    pub kernels: BTreeMap<String, Kernel>,
}

/// `[workspace.metadata.uml.rootfs]`: what the image is made of.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RootfsConfig {
    /// The Debian suite that is bootstrapped.
    pub suite: String,
    /// Packages beside the essential ones.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Where the suite comes from; the default is Debian's own content network.
    #[serde(default = "debian_mirror")]
    pub mirror: String,
    /// Size of the file system; the file itself is sparse.
    #[serde(default = "default_image_size")]
    pub size: ByteSize,
}

/// `[workspace.metadata.uml.tests]`: the cargo packages whose tests run in guests.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Tests {
    /// Their names; `package` has one.
    #[serde(alias = "package", deserialize_with = "one_or_more")]
    pub packages: Vec<String>,
    /// Features that their tests need; the default is `guest`, where a package has that.
    pub features: Option<Vec<String>>,
    /// Variables that they have in their environment.
    pub environment: BTreeMap<String, String>,
    /// Cases whose `BINARY NAME` contains one of these words share a guest with no other.
    pub fresh: Vec<String>,
}

impl Default for Tests {
    fn default() -> Self {
        Self {
            packages: vec!["guest-tests".into()],
            features: None,
            environment: BTreeMap::new(),
            fresh: Vec::new(),
        }
    }
}

/// A name, or a list of them.
fn one_or_more<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a name, or a list of names")]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(name) => vec![name],
        OneOrMore::More(names) => names,
    })
}

fn seconds<const N: u64>() -> Duration {
    Duration::from_secs(N)
}

fn debian_mirror() -> String {
    "http://deb.debian.org/debian".into()
}

fn default_image_size() -> ByteSize {
    ByteSize::mib(1024)
}

/// The path of our table in `Cargo.toml`, as messages name it.
const TABLE: &str = "workspace.metadata.uml";

impl Config {
    /// Reads the table out of the workspace's metadata; what it does not say is as the engine has it.
    ///
    /// # Errors
    /// When a key is unknown or a value is wrong; each names the key's path.
    pub fn from_metadata(metadata: &serde_json::Value) -> Result<Self> {
        let table = defaults::complete(metadata.get("uml"))?;
        let mut unknown = Vec::new();
        let mut note = |path: serde_ignored::Path<'_>| unknown.push(segments(&path));
        let reader = serde_ignored::Deserializer::new(table, &mut note);
        let mut config: Self = serde_path_to_error::deserialize(reader).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." { TABLE.into() } else { format!("{TABLE}.{path}") };
            anyhow::anyhow!("{path}: {}", error.into_inner())
        })?;
        if let Some(path) = unknown.first() {
            bail!(config.unknown_key(path)?);
        }
        config.complete_variants()?;
        config.check()?;
        Ok(config)
    }

    /// The kernel that is called `name`.
    ///
    /// # Errors
    /// When there is none; the message lists those that there are.
    pub fn kernel_named(&self, name: &str) -> Result<&Kernel> {
        self.kernels.get(name).with_context(|| {
            format!(
                "no kernel `{name}` in [{TABLE}.kernels]{}",
                hint(name, self.kernels.keys().map(String::as_str))
            )
        })
    }

    /// Gives each variant what it has of its base.
    fn complete_variants(&mut self) -> Result<()> {
        let mut complete = self.kernels.clone();
        for (name, kernel) in &mut complete {
            let Some(base) = &kernel.base else { continue };
            let of =
                self.kernel_named(base).with_context(|| format!("{TABLE}.kernels.{name}.base"))?;
            let at = || format!("{TABLE}.kernels.{name}");
            ensure!(of.base.is_none(), "{}: its base `{base}` is a variant itself", at());
            ensure!(
                kernel.debian.is_none() && kernel.tarballs.is_empty() && kernel.tree.is_none(),
                "{}: a variant has the source of its base, `{base}`",
                at()
            );
            let fragments = std::mem::take(&mut kernel.fragments);
            let patches = std::mem::take(&mut kernel.patches);
            let append = std::mem::take(&mut kernel.append);
            let complaints = std::mem::take(&mut kernel.known_boot_complaints);
            *kernel = Kernel { base: kernel.base.take(), ..of.clone() };
            kernel.fragments.extend(fragments);
            kernel.patches.extend(patches);
            kernel.append.extend(append);
            kernel.known_boot_complaints.extend(complaints);
        }
        self.kernels = complete;
        Ok(())
    }

    /// The names that were valid where `path` was not are those that the parsed value has there.
    fn unknown_key(&self, path: &[String]) -> Result<String> {
        let parsed = serde_json::to_value(self).context("cannot write the configuration back")?;
        let (key, parents) = path.split_last().context("an unknown key has a name")?;
        let siblings = parents.iter().try_fold(&parsed, |value, parent| match value {
            serde_json::Value::Array(items) => items.get(parent.parse::<usize>().ok()?),
            other => other.get(parent),
        });
        let names: Vec<&str> = siblings
            .and_then(serde_json::Value::as_object)
            .map(|object| object.keys().map(String::as_str).collect())
            .unwrap_or_default();
        Ok(format!("{TABLE}.{}: unknown key{}", path.join("."), hint(key, names)))
    }
}

/// `; did you mean …?` for the nearest name, else the list of names.
pub fn hint<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let nearest = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3))
        .min();
    match nearest {
        Some((_, name)) => format!("; did you mean `{name}`?"),
        None if names.is_empty() => String::new(),
        None => format!("; there is {}", names.join(", ")),
    }
}

fn segments(path: &serde_ignored::Path<'_>) -> Vec<String> {
    use serde_ignored::Path;
    match path {
        Path::Root => Vec::new(),
        Path::Seq { parent, index } => with_last(parent, index.to_string()),
        Path::Map { parent, key } => with_last(parent, key.clone()),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => segments(parent),
    }
}

fn with_last(parent: &serde_ignored::Path<'_>, last: String) -> Vec<String> {
    let mut path = segments(parent);
    path.push(last);
    path
}

#[cfg(test)]
mod tests;
