//! What a boot has to make for a network, whatever makes it.

use std::path::{Path, PathBuf};

use anyhow::Result;

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

/// All that a boot has to make.
pub(super) struct Blueprint<'a> {
    pub record: &'a Record,
    /// The bridge and its taps.
    pub links: Vec<Change>,
    /// The hardware address of the uplink, where the bridge takes its place.
    pub hardware: Option<String>,
    /// The rules of the packet filter, and the server of names.
    pub commands: Vec<&'a Change>,
}

impl<'a> Blueprint<'a> {
    pub fn new(record: &'a Record, changes: &'a [Change]) -> Result<Self> {
        let hardware = match (record.subnet, &record.uplink) {
            (None, Some(uplink)) => ip::interface(uplink)?.address,
            _ => None,
        };
        let words = hardware.as_ref().map(|address| format!("address {address}"));
        let links = plan::bridge(record, &words.unwrap_or_default());
        let is_command = |change: &&Change| matches!(change, Change::Command { .. });
        Ok(Self { record, links, hardware, commands: changes.iter().filter(is_command).collect() })
    }

    /// The uplink whose place the bridge takes, if it takes any's.
    pub fn taken_over(&self) -> Option<&'a str> {
        self.hardware.as_ref().and(self.record.uplink.as_deref())
    }

    /// The address of the host with its prefix, in a network of its own.
    pub fn address(&self) -> Option<String> {
        let (subnet, host) = (self.record.subnet?, self.record.gateway?);
        Some(format!("{host}/{}", subnet.prefix()))
    }

    /// The settings that let packets pass, by their files below `/proc/sys`.
    pub fn settings(&self) -> Vec<String> {
        if self.record.subnet.is_none() {
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
