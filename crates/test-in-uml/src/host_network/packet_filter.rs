//! The rules of the host's packet filter for a network of its own: its guests reach all, and nobody them but for answers and
//! what is published.

use std::net::Ipv4Addr;
use std::str::FromStr;

use anyhow::{Result, bail};

use super::change::Change;
use super::line::Line;
use super::subnet::Subnet;
use crate::doctor::find;

/// A port of the host's that is one of a guest's, `PORT:ADDRESS:PORT`, by TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    port: u16,
    /// The address of the guest, and its port.
    pub(super) to: (Ipv4Addr, u16),
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let mut parts = text.split(':');
            let (port, address, to) = (parts.next()?, parts.next()?, parts.next()?);
            let publish =
                Self { port: port.parse().ok()?, to: (address.parse().ok()?, to.parse().ok()?) };
            parts.next().is_none().then_some(publish)
        };
        parse().ok_or_else(|| format!("`{text}` is not PORT:ADDRESS:PORT"))
    }
}

/// The rules, in a table of their own, or among those of iptables(8) where these drop what no rule of theirs accepts: no
/// other table can accept it again (nft(8), "drop").
pub(super) fn rules(bridge: &str, subnet: Subnet, publish: &[Publish]) -> Result<Vec<Change>> {
    let has_iptables = find("iptables").is_some();
    match (find("nft").is_some(), has_iptables) {
        (false, false) => {
            bail!("neither `nft` nor `iptables` is on this host: install the package nftables")
        }
        (true, has) if !(has && iptables_drops()) => Ok(vec![by_nft(bridge, subnet, publish)]),
        _ => Ok(by_iptables(bridge, subnet, publish)),
    }
}

/// Returns true if what is forwarded is dropped unless a rule says otherwise, as Docker and ufw have it.
fn iptables_drops() -> bool {
    let policy = Line::new("iptables -S FORWARD").read().unwrap_or_default();
    policy.lines().any(|line| line == "-P FORWARD DROP")
}

fn by_nft(bridge: &str, subnet: Subnet, publish: &[Publish]) -> Change {
    let published: String = publish
        .iter()
        .map(|Publish { port, to: (address, to) }| {
            format!(
                "    iifname != \"{bridge}\" fib daddr type local tcp dport {port} dnat to {address}:{to}\n"
            )
        })
        .collect();
    let ruleset = format!(
        "table ip {bridge} {{\n  \
           chain from_elsewhere {{\n    type nat hook prerouting priority -100\n{published}  }}\n  \
           chain to_elsewhere {{\n    type nat hook postrouting priority 100\n    \
             ip saddr {subnet} oifname != \"{bridge}\" masquerade\n  }}\n  \
           chain between {{\n    type filter hook forward priority 0\n    \
             iifname \"{bridge}\" accept\n    \
             oifname \"{bridge}\" ct state established,related accept\n    \
             oifname \"{bridge}\" ct status dnat accept\n    \
             oifname \"{bridge}\" drop\n  }}\n}}"
    );
    Change::Command {
        make: Line::new("nft -f -").input(ruleset),
        is_made: Line::new("nft list table ip").args([bridge]),
        undo: Line::new("nft delete table ip").args([bridge]),
    }
}

fn by_iptables(bridge: &str, subnet: Subnet, publish: &[Publish]) -> Vec<Change> {
    let mut rules = vec![
        ("nat", format!("POSTROUTING -s {subnet} ! -o {bridge} -j MASQUERADE")),
        ("filter", format!("FORWARD -i {bridge} -j ACCEPT")),
        (
            "filter",
            format!(
                "FORWARD -o {bridge} -m conntrack --ctstate ESTABLISHED,RELATED,DNAT -j ACCEPT"
            ),
        ),
        ("filter", format!("FORWARD -o {bridge} -j DROP")),
    ];
    rules.extend(publish.iter().map(|Publish { port, to: (address, to) }| {
        let from = format!(
            "PREROUTING ! -i {bridge} -p tcp -m addrtype --dst-type LOCAL -m tcp --dport {port}"
        );
        ("nat", format!("{from} -j DNAT --to-destination {address}:{to}"))
    }));
    let line = |does: &str, (table, rule): &(&str, String)| {
        Line::new(&format!("iptables -w -t {table} {does} {rule}"))
    };
    let change = |rule: &(&str, String)| Change::Command {
        make: line("-A", rule),
        is_made: line("-C", rule),
        undo: line("-D", rule),
    };
    rules.iter().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_published_as_it_is_written() {
        let publish: Publish = "8080:192.168.2.2:80".parse().unwrap();
        assert_eq!(publish, Publish { port: 8080, to: ([192, 168, 2, 2].into(), 80) });
        for wrong in ["8080", "8080:80", "x:1.2.3.4:80", "1:1.2.3.4:5:6", "70000:1.2.3.4:80"] {
            assert!(wrong.parse::<Publish>().is_err(), "{wrong}");
        }
    }
}
