//! Whom the guest asks for names.

use std::fs;

use anyhow::{Context as _, Result};
use uml_protocol::{BY_DHCP, NAME_SERVERS};

/// Writes down the name servers that the kernel's command line has; those that a DHCP server told the kernel where it says
/// so (Documentation/admin-guide/nfs/nfsroot.rst, `/proc/net/pnp`). None leaves what the image says.
pub fn settle() -> Result<()> {
    let lines: String = match crate::parameter(NAME_SERVERS)?.as_deref() {
        None => return Ok(()),
        // Not every kernel has the file.
        Some(BY_DHCP) => told(&fs::read_to_string("/proc/net/pnp").unwrap_or_default()),
        Some(servers) => {
            servers.split(',').map(|server| format!("nameserver {server}\n")).collect()
        }
    };
    if lines.is_empty() {
        return Ok(());
    }
    fs::write("/etc/resolv.conf", lines).context("cannot write /etc/resolv.conf")
}

/// The lines of the kernel's file that resolv.conf(5) has too.
fn told(pnp: &str) -> String {
    let known = ["nameserver ", "domain "];
    let is_told = |line: &&str| {
        known.iter().any(|word| line.starts_with(word)) && !line.ends_with(" 0.0.0.0")
    };
    let lines: Vec<&str> = pnp.lines().filter(is_told).collect();
    if lines.iter().any(|line| line.starts_with("nameserver ")) {
        lines.iter().map(|line| format!("{line}\n")).collect()
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_told_the_kernel_is_passed_on() {
        let pnp = "#DHCP\ndomain example.org\nnameserver 192.0.2.53\nnameserver 0.0.0.0\nbootserver 0.0.0.0\n";
        assert_eq!(told(pnp), "domain example.org\nnameserver 192.0.2.53\n");
        assert_eq!(told("#MANUAL\nbootserver 255.255.255.255\n"), "");
        assert_eq!(told(""), "");
    }
}
