//! The kernel binary: what a guest is booted from, and what one has to know about it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::era::{Era, Version};
use super::fragment::{ConfigRequest, Values};
use super::net_driver::NetDriver;
use crate::store::{Entry, sha256_of};

/// The driver that guests of this configuration have; the faster one where there are both.
///
/// # Errors
/// When there is none: its guests could not be reached.
pub(super) fn net_driver(values: &Values) -> Result<NetDriver> {
    match (values.get("UML_NET_VECTOR"), values.get("UML_NET_TUNTAP")) {
        ("y", _) => Ok(NetDriver::Vector),
        (_, "y") => Ok(NetDriver::Legacy),
        _ => bail!(
            "neither UML_NET_VECTOR nor UML_NET_TUNTAP is y: guests of this kernel could not be \
             reached; ask for one of them in a fragment"
        ),
    }
}

/// A built kernel.
#[derive(Debug)]
pub struct KernelBinary {
    /// What the workspace calls it.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// The `.config` that it was built with.
    pub config: PathBuf,
    values: Values,
    /// What `uname -r` says in its guests.
    pub release: String,
    /// The compiler that built it, as it calls itself.
    pub compiler: String,
    /// What identifies the binary: what was measured of it, such as its delay calibration, is kept
    /// under this.
    pub key: String,
    /// The lines that its fragments asked for.
    pub requested: Vec<String>,
    /// How its guests are reached.
    pub net_driver: NetDriver,
    /// What modules for it are built with, and its hash; nothing if it loads none.
    pub kit: Option<(PathBuf, String)>,
    /// What holds for kernels of its age.
    pub era: &'static Era,
    /// Nobody prunes it while this lives; a run's own kernel goes with the run.
    _entry: Option<Entry>,
}

const LINUX: &str = "linux";
const CONFIG: &str = "config";
const KIT: &str = "kit.tar.gz";
const ABOUT: &str = "kernel.json";

#[derive(Debug, Deserialize, Serialize)]
struct BinaryFacts {
    release: String,
    version: Version,
    requested: Vec<String>,
    kit: Option<String>,
}

/// Where a build puts its results in the folder of a new entry.
#[derive(Debug)]
pub(super) struct Results<'a>(pub &'a Path);

impl Results<'_> {
    pub fn linux(&self) -> PathBuf {
        self.0.join(LINUX)
    }

    pub fn config(&self) -> PathBuf {
        self.0.join(CONFIG)
    }

    pub fn kit(&self) -> PathBuf {
        self.0.join(KIT)
    }

    pub fn describe(&self, release: &str, version: Version, request: &ConfigRequest) -> Result<()> {
        let requested = request.settings().map(ToString::to_string).collect();
        let kit = self.kit();
        let kit = kit.exists().then(|| sha256_of(&kit)).transpose()?;
        let about = BinaryFacts { release: release.into(), version, requested, kit };
        let path = self.0.join(ABOUT);
        fs::write(&path, serde_json::to_vec_pretty(&about)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

impl KernelBinary {
    /// The kernel of an entry in the store.
    pub(super) fn of_entry(name: &str, entry: Entry, compiler: &str) -> Result<Self> {
        let key = entry.key().as_str().to_owned();
        let kernel = Self::read(name, entry.path(), key, compiler)?;
        Ok(Self { _entry: Some(entry), ..kernel })
    }

    /// The kernel of a folder that belongs to a run.
    pub(super) fn of_folder(name: &str, dir: &Path, compiler: &str) -> Result<Self> {
        Self::read(name, dir, sha256_of(&Results(dir).linux())?, compiler)
    }

    /// One that no guest can boot from, in `dir`.
    #[cfg(test)]
    pub(crate) fn empty(name: &str, dir: &Path) -> Self {
        let results = Results(dir);
        fs::write(results.linux(), "").unwrap();
        fs::write(results.config(), "CONFIG_UML_NET_VECTOR=y\n").unwrap();
        let version = Version { major: 6, minor: 12 };
        results.describe("6.12.0", version, &ConfigRequest::default()).unwrap();
        Self::of_folder(name, dir, "gcc").unwrap()
    }

    /// Returns true if it has what a symbol of its configuration stands for, built in or as a module.
    pub fn has(&self, symbol: &str) -> bool {
        self.values.get(symbol) != "n"
    }

    fn read(name: &str, dir: &Path, key: String, compiler: &str) -> Result<Self> {
        let results = Results(dir);
        let path = dir.join(ABOUT);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let about: BinaryFacts = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a kernel's", path.display()))?;
        let config = results.config();
        let text = fs::read_to_string(&config)
            .with_context(|| format!("cannot read {}", config.display()))?;
        let values = Values::parse(&text)?;
        Ok(Self {
            name: name.into(),
            path: results.linux(),
            net_driver: net_driver(&values)?,
            config,
            values,
            release: about.release,
            compiler: compiler.into(),
            key,
            requested: about.requested,
            kit: about.kit.map(|hash| (results.kit(), hash)),
            era: about.version.era()?,
            _entry: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_decides_the_net_driver() {
        let of = |text: &str| net_driver(&Values::parse(text).unwrap());
        let both = "CONFIG_UML_NET_VECTOR=y\nCONFIG_UML_NET_TUNTAP=y";
        assert_eq!(of(both).unwrap(), NetDriver::Vector);
        assert_eq!(of("CONFIG_UML_NET_TUNTAP=y").unwrap(), NetDriver::Legacy);
        let error = of("CONFIG_UML_NET_VECTOR=m").unwrap_err().to_string();
        assert!(error.contains("UML_NET_VECTOR"), "{error}");
    }
}
