//! Stanzas of interfaces(5).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::FOLDER;
use super::blueprint::{Addresses, Blueprint, switch_on};
use super::host_file::HostFile;

/// The file that ifupdown reads.
pub(super) const INTERFACES: &str = "/etc/network/interfaces";

/// The folder whose files it reads too, as Debian has it.
const MORE: &str = "/etc/network/interfaces.d";

/// Words that begin something else than an option of a stanza (interfaces(5)).
const BEGINS: [&str; 9] = [
    "iface",
    "auto",
    "mapping",
    "source",
    "source-directory",
    "rename",
    "no-auto-down",
    "no-scripts",
    "template",
];

pub(super) fn files(blueprint: &Blueprint<'_>) -> Result<Vec<HostFile>> {
    let bridge = &blueprint.record.bridge;
    let ours = Path::new(MORE).join(bridge);
    let mut files = vec![blueprint.module_file()];
    files.extend(blueprint.script_file());
    let mut main = read(Path::new(INTERFACES))?;
    let mut stanzas = match &blueprint.addresses {
        Addresses::OfUplink { uplink, .. } => {
            let path = file_of(uplink)?;
            let (left, moved) = split(&read(&path)?, uplink, bridge)?;
            if path == Path::new(INTERFACES) {
                main = left;
            } else {
                files.push(HostFile::new(path, left));
            }
            moved
        }
        Addresses::Own(address) => {
            vec![format!("iface {bridge} inet static\n"), format!("    address {address}\n")]
        }
    };
    // Of several stanzas of one interface the first makes it.
    stanzas.insert(1, options(blueprint));
    files.push(blueprint.file(&ours, &format!("auto {bridge}\n{}", stanzas.concat())));
    if !sources(&main, &ours) {
        main += &format!("source {}\n", ours.display());
    }
    files.push(HostFile::new(INTERFACES, main));
    files.retain(|file| fs::read_to_string(&file.path).ok().as_deref() != Some(&file.new));
    Ok(files)
}

/// The options that make the bridge and what belongs to it, and those that remove them.
fn options(blueprint: &Blueprint<'_>) -> String {
    let record = blueprint.record;
    let mut options = String::new();
    let mut add = |when: &str, line: &dyn std::fmt::Display| {
        options += &format!("    {when} {line}\n");
    };
    for change in &blueprint.links {
        change.make().iter().for_each(|line| add("pre-up", line));
    }
    if let Some(uplink) = blueprint.taken_over() {
        add("pre-up", &format!("ip link set dev {uplink} master {} up", record.bridge));
    }
    blueprint.settings().iter().for_each(|key| add("up", &switch_on(key)));
    if !blueprint.commands.is_empty() {
        add("up", &format!("{FOLDER}/{}.up", record.name));
        blueprint.undo_commands().for_each(|line| add("down", &format!("{line} || true")));
    }
    for name in record.taps.iter().chain([&record.bridge]) {
        add("post-down", &format!("ip link delete dev {name}"));
    }
    options
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The file that has the stanza of an interface.
pub(super) fn file_of(interface: &str) -> Result<PathBuf> {
    let more = fs::read_dir(MORE).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all = std::iter::once(PathBuf::from(INTERFACES)).chain(more);
    let has = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().any(|line| is_iface(line, interface))
    };
    all.find(has).with_context(|| {
        format!(
            "no `iface {interface}` is in {INTERFACES} or {MORE}: ifupdown does not configure it"
        )
    })
}

fn is_iface(line: &str, interface: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("iface") && words.next() == Some(interface)
}

/// Returns true if that file is read by what a text says.
fn sources(text: &str, file: &Path) -> bool {
    text.lines().any(|line| {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("source"), Some(pattern)) => {
                Path::new(pattern) == file || pattern.strip_suffix("/*") == Some(MORE)
            }
            (Some("source-directory"), Some(folder)) => folder.trim_end_matches('/') == MORE,
            _ => false,
        }
    })
}

/// The text with the interface's configuration taken out, and the lines that give it to the bridge.
fn split(text: &str, interface: &str, bridge: &str) -> Result<(String, Vec<String>)> {
    let (mut left, mut moved) = (String::new(), Vec::<String>::new());
    let mut is_within = false;
    let mut continues = false;
    for line in text.split_inclusive('\n') {
        let first = line.split_whitespace().next().unwrap_or_default();
        let is_comment = first.starts_with('#') || first.is_empty();
        if is_iface(line, interface) && !continues {
            is_within = true;
            if moved.is_empty() {
                left += &format!("iface {interface} inet manual\n");
            }
            moved.push(line.replacen(interface, bridge, 1));
        } else if !continues && (BEGINS.contains(&first) || first.starts_with("allow-")) {
            is_within = false;
            left += line;
        } else if is_within && !is_comment {
            moved.push(line.into());
        } else {
            left += line;
        }
        continues = line.trim_end_matches('\n').ends_with('\\');
    }
    if let Some(last) = moved.last_mut().filter(|last| !last.ends_with('\n')) {
        last.push('\n');
    }
    if moved.is_empty() {
        bail!("no `iface {interface}` is there");
    }
    Ok((left, moved))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interfaces_configuration_becomes_the_bridges() {
        let text = "# The host's.\nauto lo eth0\niface lo inet loopback\n\n# Up.\niface eth0 inet static\n    address 192.0.2.2/24\n\
                    \x20   # Out.\n    gateway 192.0.2.1\n    up ip route add \\\n      auto via 192.0.2.3\n\n\
                    iface eth0 inet6 auto\n    privext 2\nallow-hotplug eth1\niface eth1 inet dhcp";
        let (left, moved) = split(text, "eth0", "uml-lab").unwrap();
        assert_eq!(
            left,
            "# The host's.\nauto lo eth0\niface lo inet loopback\n\n# Up.\niface eth0 inet manual\n    # Out.\n\n\
             allow-hotplug eth1\niface eth1 inet dhcp"
        );
        assert_eq!(
            moved.concat(),
            "iface uml-lab inet static\n    address 192.0.2.2/24\n    gateway 192.0.2.1\n    up ip route add \\\n      \
             auto via 192.0.2.3\niface uml-lab inet6 auto\n    privext 2\n"
        );
        assert!(split(text, "eth2", "uml-lab").is_err());
    }

    #[test]
    fn a_folder_is_read_where_a_line_says_so() {
        let ours = Path::new("/etc/network/interfaces.d/uml-lab");
        for text in [
            "auto lo\nsource /etc/network/interfaces.d/*\n",
            "source-directory /etc/network/interfaces.d/",
            "source /etc/network/interfaces.d/uml-lab",
        ] {
            assert!(sources(text, ours), "{text}");
        }
        for text in ["", "# source /etc/network/interfaces.d/*", "source /etc/network/more.d/*"] {
            assert!(!sources(text, ours), "{text}");
        }
    }
}
