//! Keyfiles of NetworkManager (nm-settings-keyfile(5)). One without an UUID gets that of its path.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::blueprint::{Addresses, Blueprint, switch_on};
use super::host_file::HostFile;
use super::sections;
use crate::host_network::line::Line;

const PROFILES: &str = "/etc/NetworkManager/system-connections";

/// Scripts that are run when an interface has come up (NetworkManager-dispatcher(8)).
const SCRIPTS: &str = "/etc/NetworkManager/dispatcher.d";

pub(super) fn files(blueprint: &Blueprint<'_>) -> Result<Vec<HostFile>> {
    let record = blueprint.record;
    let bridge = &record.bridge;
    let profile = |id: &str, interface: &str, kind: &str, more: &str| {
        let text =
            format!("[connection]\nid={id}\ntype={kind}\ninterface-name={interface}\n{more}");
        // It reads none that others may read.
        blueprint.file(format!("{PROFILES}/{id}.nmconnection"), &text).mode(0o600)
    };
    let port = format!("master={bridge}\nslave-type=bridge\n");
    let mut files =
        vec![blueprint.module_file(), profile(bridge, bridge, "bridge", &of_bridge(blueprint)?)];
    for tap in &record.taps {
        let more = format!("{port}\n[tun]\nmode=2\nowner={}\n", record.owner);
        files.push(profile(tap, tap, "tun", &more));
    }
    if let Some(uplink) = blueprint.taken_over() {
        // Rather than the one that the interface had.
        let more = format!("autoconnect-priority=100\n{port}");
        files.push(profile(&format!("{bridge}-uplink"), uplink, "ethernet", &more));
    }
    if let Some(commands) = blueprint.script_file() {
        let settings: String =
            blueprint.settings().iter().map(|key| format!("{}\n", switch_on(key))).collect();
        let text = format!(
            "#!/bin/sh\n{}[ \"$1 $2\" = \"{bridge} up\" ] || exit 0\n{settings}exec {}\n",
            blueprint.heading(),
            commands.path.display()
        );
        let script = HostFile::new(format!("{SCRIPTS}/50-{bridge}"), text);
        files.extend([commands, script.mode(0o755)]);
    }
    Ok(files)
}

/// The sections of the bridge's profile.
fn of_bridge(blueprint: &Blueprint<'_>) -> Result<String> {
    let (hardware, addresses) = match &blueprint.addresses {
        Addresses::OfUplink { uplink, hardware } => {
            (format!("mac-address={hardware}\n"), addresses(&profile_of(uplink)?))
        }
        Addresses::Own(address) => {
            let own =
                format!("[ipv4]\nmethod=manual\naddress1={address}\n\n[ipv6]\nmethod=link-local\n");
            (String::new(), own)
        }
    };
    Ok(format!("\n[bridge]\nstp=false\n{hardware}\n{addresses}"))
}

/// The text of the profile by which an interface is configured.
fn profile_of(interface: &str) -> Result<String> {
    let active = Line::new("nmcli -t -f DEVICE,FILENAME connection show --active").read()?;
    let start = format!("{interface}:");
    let path = active.lines().find_map(|line| line.strip_prefix(&start));
    let path = path.with_context(|| format!("NetworkManager does not configure {interface}"))?;
    // As nmcli(1) writes what is between its colons.
    let path = path.replace("\\:", ":").replace("\\\\", "\\");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    ensure!(
        text.contains("[ipv4]"),
        "{path} is no keyfile: `nmcli connection migrate` makes one of it"
    );
    Ok(text)
}

/// The sections of a profile that say of addresses.
fn addresses(text: &str) -> String {
    sections::kept(text, |name| ["ipv4", "ipv6", "proxy"].contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_has_the_addresses_of_a_profile() {
        let text = "[connection]\nid=Wired\nuuid=1\n\n[ethernet]\nmtu=1400\n\n[ipv4]\naddress1=192.0.2.2/24,192.0.2.1\nmethod=manual\n\n\
                    [ipv6]\nmethod=auto\n\n[user]\na=b\n";
        assert_eq!(
            addresses(text),
            "[ipv4]\naddress1=192.0.2.2/24,192.0.2.1\nmethod=manual\n\n[ipv6]\nmethod=auto\n\n"
        );
    }
}
