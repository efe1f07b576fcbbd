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
    /// The rules of the packet filter.
    pub rules: Vec<&'a Change>,
}

impl<'a> Blueprint<'a> {
    pub fn new(record: &'a Record, changes: &'a [Change]) -> Result<Self> {
        let hardware = match (record.subnet, &record.uplink) {
            (None, Some(uplink)) => ip::interface(uplink)?.address,
            _ => None,
        };
        let words = hardware.as_ref().map(|address| format!("address {address}"));
        let links = plan::bridge(record, &words.unwrap_or_default());
        let is_rule = |change: &&Change| matches!(change, Change::Rules { .. });
        Ok(Self { record, links, hardware, rules: changes.iter().filter(is_rule).collect() })
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

    /// A script that makes the rules, unless they are there.
    pub fn rules_script(&self) -> String {
        let mut script = format!("#!/bin/sh\n{}set -e\n", self.heading());
        for rule in &self.rules {
            if let Change::Rules { make, is_made, .. } = rule {
                script += &format!("{is_made} >/dev/null 2>&1 ||\n{make}\n");
            }
        }
        script
    }

    /// What undoes the rules.
    pub fn undo_rules(&self) -> impl Iterator<Item = &Line> {
        self.rules.iter().rev().filter_map(|rule| match rule {
            Change::Rules { undo, .. } => Some(undo),
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

    /// The script of the rules, if there are any.
    pub fn rules_file(&self) -> Option<HostFile> {
        let path = Path::new(FOLDER).join(format!("{}.rules", self.record.name));
        (!self.rules.is_empty()).then(|| HostFile::new(path, self.rules_script()).mode(0o755))
    }

    /// The module of taps, loaded at boot.
    pub fn module_file(&self) -> HostFile {
        self.file(format!("/etc/modules-load.d/{}.conf", self.record.bridge), "tun\n")
    }
}
