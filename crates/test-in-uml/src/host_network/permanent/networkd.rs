//! Files of systemd.network(5) and systemd.netdev(5).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::FOLDER;
use super::blueprint::{Addresses, Blueprint};
use super::host_file::HostFile;
use super::sections;
use crate::host_network::ip;

/// Where the daemon says what it does.
pub(super) const STATE: &str = "/run/systemd/netif";

/// Where its files are. Of those that match an interface the first by name is taken: ours come before others.
const FILES: &str = "/etc/systemd/network";
const FIRST: &str = "05";

/// Where units are, and those that a boot starts.
const UNITS: &str = "/etc/systemd/system";

pub(super) fn files(blueprint: &Blueprint<'_>) -> Result<Vec<HostFile>> {
    let record = blueprint.record;
    let bridge = &record.bridge;
    let at = |name: &str| format!("{FILES}/{FIRST}-{name}");
    let hardware = match &blueprint.addresses {
        Addresses::OfUplink { hardware, .. } => format!("MACAddress={hardware}\n"),
        Addresses::Own(_) => String::new(),
    };
    let mut files = vec![
        blueprint.module_file(),
        blueprint.file(
            at(&format!("{bridge}.netdev")),
            &format!("[NetDev]\nName={bridge}\nKind=bridge\n{hardware}\n[Bridge]\nSTP=no\nForwardDelaySec=0\n"),
        ),
    ];
    for tap in &record.taps {
        let text = format!("[NetDev]\nName={tap}\nKind=tap\n\n[Tap]\nUser={}\n", record.owner);
        files.push(blueprint.file(at(&format!("{tap}.netdev")), &text));
    }
    // A tap has no carrier until a guest has it.
    let port = |names: &str, online: &str| {
        format!(
            "[Match]\nName={names}\n\n[Link]\nRequiredForOnline={online}\n\n[Network]\nBridge={bridge}\nLinkLocalAddressing=no\n"
        )
    };
    let taps = record.taps.join(" ");
    files.push(blueprint.file(at(&format!("{bridge}-taps.network")), &port(&taps, "no")));
    let text = match &blueprint.addresses {
        Addresses::OfUplink { uplink, .. } => {
            let text = port(uplink, "enslaved");
            files.push(blueprint.file(at(&format!("{bridge}-uplink.network")), &text));
            for_bridge(&file_of(uplink)?, bridge)?
        }
        Addresses::Own(address) => format!(
            "[Match]\nName={bridge}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nConfigureWithoutCarrier=yes\n\
             Address={address}\n"
        ),
    };
    files.push(blueprint.file(at(&format!("{bridge}.network")), &text));
    let settings: String = blueprint.settings().iter().map(|key| format!("{key} = 1\n")).collect();
    if !settings.is_empty() {
        // That of an interface is set when it appears (udev's 99-systemd.rules).
        files.push(blueprint.file(format!("/etc/sysctl.d/90-{bridge}.conf"), &settings));
    }
    files.extend(unit(blueprint));
    Ok(files)
}

/// A unit that runs the script.
fn unit(blueprint: &Blueprint<'_>) -> Vec<HostFile> {
    let Some(script) = blueprint.script_file() else { return Vec::new() };
    let name = &blueprint.record.name;
    let unit = format!("{}.service", blueprint.record.bridge);
    let text = format!(
        "[Unit]\nDescription=The network {name} of User Mode Linux guests\nAfter=nftables.service docker.service\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={FOLDER}/{name}.up\n\n[Install]\nWantedBy=multi-user.target\n"
    );
    let link = HostFile::link(
        format!("{UNITS}/multi-user.target.wants/{unit}"),
        &format!("{UNITS}/{unit}"),
    );
    vec![script, blueprint.file(format!("{UNITS}/{unit}"), &text), link]
}

/// The file by which the daemon configures an interface, and what is laid over it.
pub(super) fn file_of(interface: &str) -> Result<Vec<PathBuf>> {
    let path = format!("{STATE}/links/{}", ip::interface(interface)?.ifindex);
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let file = value("NETWORK_FILE=")
        .with_context(|| format!("systemd-networkd does not configure {interface}"))?;
    let over = value("NETWORK_FILE_DROPINS=").unwrap_or_default();
    let over = over.split_whitespace().map(|path| path.trim_matches('"'));
    Ok(std::iter::once(file).chain(over).map(PathBuf::from).collect())
}

/// The text of such files for the bridge.
fn for_bridge(files: &[PathBuf], bridge: &str) -> Result<String> {
    let mut text = String::new();
    for path in files {
        let one = fs::read_to_string(path);
        text += &one.with_context(|| format!("cannot read {}", path.display()))?;
        text.push('\n');
    }
    Ok(format!("[Match]\nName={bridge}\n\n{}", without_match(&text)))
}

/// The text without its sections that say of which interface it is, or are of its hardware.
fn without_match(text: &str) -> String {
    sections::kept(text, |name| !["Match", "Link"].contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_interface_becomes_the_bridges() {
        let text = "[Match]\nName=en*\n\n[Link]\nMTUBytes=1400\n[Network]\nDHCP=yes\n\n[DHCPv4]\nRouteMetric=100\n\n[Match]\nDriver=virtio\n";
        assert_eq!(without_match(text), "[Network]\nDHCP=yes\n\n[DHCPv4]\nRouteMetric=100\n\n");
    }
}
