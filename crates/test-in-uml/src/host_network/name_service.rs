//! Addresses by DHCP and names for the guests of a network of its own, from dnsmasq(8), where the host has it.

use std::fs;

use super::change::Change;
use super::line::Line;
use super::record::Record;
use super::subnet::Subnet;
use crate::doctor::find;

/// The change that has the network of this record served; nothing where that cannot be.
pub(super) fn served(record: &Record, subnet: Subnet) -> Option<Change> {
    find("dnsmasq")?;
    let (first, last) = (record.guest(record.taps.len())?, subnet.last_address()?);
    if first > last {
        return None;
    }
    let bridge = &record.bridge;
    let (pid, leases) = (format!("/run/{bridge}.pid"), format!("/run/{bridge}.leases"));
    // It becomes another user, which there may not be.
    let user = if has_one_user() { "--user=root --group=root " } else { "" };
    // The shell keeps our lock, which dnsmasq drops, until it serves.
    let begin = format!(
        "dnsmasq --conf-file=/dev/null --bind-dynamic --except-interface=lo --interface={bridge} {user}\
         --dhcp-range={first},{last},{},1h --dhcp-authoritative --dhcp-leasefile={leases} --pid-file={pid}; exit $?",
        subnet.netmask()
    );
    let end = format!(
        "kill $(cat {pid}); while pgrep -F {pid} dnsmasq >/dev/null 2>&1; do sleep 0.01; done; rm -f {pid} {leases}"
    );
    Some(Change::Command {
        make: Line::new("sh -c").args([&begin]),
        is_made: Line::new("pgrep -F").args([&pid, "dnsmasq"]),
        undo: Line::new("sh -c").args([&end]),
    })
}

/// Returns true in a user namespace of one user (user_namespaces(7)).
fn has_one_user() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) == Some("1")
}
