//! A network that each boot makes again: files for whatever configures the host's interfaces at its boot.
//!
//! What is written is recorded before, with what was there: taking it back leaves the files as they were, byte for byte.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::change::Change;
use super::ip;
use super::name::NetworkName;
use super::record::Record;
use crate::invocation;
use crate::removal::remove_file;

mod blueprint;
mod host_file;
mod ifupdown;
mod manager;
mod network_manager;
mod networkd;
mod sections;

use blueprint::Blueprint;
use host_file::HostFile;
pub use manager::Manager;

/// Where the records of such networks are.
const FOLDER: &str = "/etc/cargo-xtask-uml/networks";

/// A network that boots make, and what was written for it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Permanent {
    record: Record,
    manager: Manager,
    files: Vec<HostFile>,
}

impl Permanent {
    /// What would be written for this network.
    pub(super) fn plan(
        record: &Record,
        changes: &[Change],
        manager: Option<Manager>,
    ) -> Result<Self> {
        ensure!(
            Self::of(&record.name)?.is_none(),
            "the network `{0}` is permanent already: `{1} net down {0} --permanent` takes it back",
            record.name,
            invocation::command()
        );
        let blueprint = Blueprint::new(record, changes)?;
        let manager = Manager::of_host(manager, blueprint.taken_over())?;
        let files = match manager {
            Manager::Ifupdown => ifupdown::files(&blueprint),
            Manager::Networkd => networkd::files(&blueprint),
            Manager::NetworkManager => network_manager::files(&blueprint),
        };
        let files = files?.into_iter().map(HostFile::examined).collect::<Result<_>>()?;
        Ok(Self { record: record.clone(), manager, files })
    }

    /// All that would be written, as diff(1) shows it.
    pub fn difference(&self) -> String {
        self.files.iter().map(HostFile::difference).collect()
    }

    /// The program that makes it at boot.
    pub fn manager(&self) -> Manager {
        self.manager
    }

    /// The network, as guests need to know it.
    pub(super) fn record(self) -> Record {
        self.record
    }

    fn own_file(&self) -> Result<HostFile> {
        HostFile::new(path_of(&self.record.name), serde_json::to_string_pretty(self)?).examined()
    }

    /// Writes it.
    pub(super) fn write(&self) -> Result<()> {
        // The record is the first that is there, and the last that is gone.
        self.own_file()?.make()?;
        self.files.iter().try_for_each(HostFile::make)
    }

    /// Takes back what was written for a network; false if there is none. The record stays as long as anything is left.
    pub(super) fn take_back(name: &NetworkName) -> Result<bool> {
        let there = Self::of(name)?;
        let files = there.iter().flat_map(|there| there.files.iter().rev());
        let failed: Vec<String> = files
            .filter_map(|file| file.take_back().err())
            .map(|error| format!("{error:#}"))
            .collect();
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        let own = HostFile::new(path_of(name), String::new());
        remove_file(&own.beside())?;
        remove_file(&own.path)?;
        for folder in own.path.ancestors().skip(1).take(2) {
            // Another network's may be there.
            let _ = fs::remove_dir(folder);
        }
        Ok(there.is_some())
    }

    /// The permanent network of that name, if there is one.
    pub(super) fn of(name: &NetworkName) -> Result<Option<Self>> {
        let path = path_of(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(
                serde_json::from_str(&text)
                    .with_context(|| format!("{} cannot be understood", path.display()))?,
            )),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Returns true if its bridge is there.
    pub fn is_up(&self) -> bool {
        ip::exists(&self.record.bridge)
    }
}

fn path_of(name: &NetworkName) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}.json"))
}

/// The names of the permanent networks.
pub(super) fn names() -> Vec<NetworkName> {
    super::record::names_in(Path::new(FOLDER), ".json")
}
