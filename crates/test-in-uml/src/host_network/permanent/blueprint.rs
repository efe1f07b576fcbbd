//! What a boot has to make for a network, whatever makes it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::FOLDER;
use super::host_file::HostFile;
use crate::host_network::change::Change;
use crate::host_network::line::Line;
use crate::host_network::record::Record;
use crate::host_network::{ip, plan};
use crate::invocation;

/// The command of a shell that switches a setting on, by its file below `/proc/sys`.
pub(super) fn switch_on(setting: &str) -> String {
    format!("echo 1 > /proc/sys/{setting}")
}

/// Whose addresses a bridge has.
pub(super) enum Addresses<'a> {
    /// Those of the interface whose place it takes, which has this hardware address.
    OfUplink { uplink: &'a str, hardware: String },
    /// One of its own, with its prefix.
    Own(String),
}

/// All that a boot has to make.
pub(super) struct Blueprint<'a> {
    pub record: &'a Record,
    /// The bridge and its taps.
    pub links: Vec<Change>,
    /// The bridge's addresses.
    pub addresses: Addresses<'a>,
    /// The rules of the packet filter, and the server of names.
    pub commands: Vec<&'a Change>,
}

impl<'a> Blueprint<'a> {
    pub fn new(record: &'a Record, changes: &'a [Change]) -> Result<Self> {
        let (addresses, words) = match (record.subnet.zip(record.gateway), &record.uplink) {
            (Some((subnet, host)), _) => {
                (Addresses::Own(format!("{host}/{}", subnet.prefix())), String::new())
            }
            (None, Some(uplink)) => {
                let hardware = ip::interface(uplink)?.address;
                let hardware = hardware.context("an interface without an address of hardware")?;
                let words = format!("address {hardware}");
                (Addresses::OfUplink { uplink, hardware }, words)
            }
            (None, None) => bail!("a network without an uplink has addresses of its own"),
        };
        let links = plan::bridge(record, &words);
        let is_command = |change: &&Change| matches!(change, Change::Command { .. });
        let commands = changes.iter().filter(is_command).collect();
        Ok(Self { record, links, addresses, commands })
    }

    /// The uplink whose place the bridge takes, if it takes any's.
    pub fn taken_over(&self) -> Option<&'a str> {
        match self.addresses {
            Addresses::OfUplink { uplink, .. } => Some(uplink),
            Addresses::Own(_) => None,
        }
    }

    /// The settings that let packets pass, by their files below `/proc/sys`.
    pub fn settings(&self) -> Vec<String> {
        if self.taken_over().is_some() {
            return Vec::new();
        }
        let between = [Some(&self.record.bridge), self.record.uplink.as_ref()];
        between.into_iter().flatten().map(|name| plan::forwarding(name)).collect()
    }

    /// A script that makes what commands make, unless it is there.
    pub fn script(&self) -> String {
        let mut script = format!("#!/bin/sh\n{}set -e\n", self.heading());
        for command in &self.commands {
            if let Change::Command { make, is_made, .. } = command {
                script += &format!("{is_made} >/dev/null 2>&1 ||\n{make}\n");
            }
        }
        script
    }

    /// What undoes that, the last first.
    pub fn undo_commands(&self) -> impl Iterator<Item = &Line> {
        self.commands.iter().rev().filter_map(|command| match command {
            Change::Command { undo, .. } => Some(undo),
            _ => None,
        })
    }

    pub fn heading(&self) -> String {
        let (xtask, name) = (invocation::command(), &self.record.name);
        format!(
            "# The network `{name}` of User Mode Linux guests; `{xtask} net down {name} --permanent` takes this back.\n"
        )
    }

    /// A file of ours with this beneath its heading.
    pub fn file(&self, path: impl Into<PathBuf>, text: &str) -> HostFile {
        HostFile::new(path, format!("{}{text}", self.heading()))
    }

    /// That script, if it has any command.
    pub fn script_file(&self) -> Option<HostFile> {
        let path = Path::new(FOLDER).join(format!("{}.up", self.record.name));
        (!self.commands.is_empty()).then(|| HostFile::new(path, self.script()).mode(0o755))
    }

    /// The module of taps, loaded at boot.
    pub fn module_file(&self) -> HostFile {
        self.file(format!("/etc/modules-load.d/{}.conf", self.record.bridge), "tun\n")
    }
}
