//! Which changes make a network.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::change::{Change, mode_of, write_setting};
use super::ip;
use super::line::Line;
use super::name::NetworkName;
use super::packet_filter::Publish;
use super::record::{NetworkPlace, Record};
use super::subnet::Subnet;
use super::takeover::Takeover;
use super::{name_servers, name_service, packet_filter};
use crate::confine::TUN;
use crate::invocation;

/// The host's own address in a network of its own, and that of the first tap's guest.
const HOST: u32 = 1;
const FIRST_GUEST: u32 = 2;

/// The other machines that a network is connected with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// It is the network of an interface of the host's: guests are there as other machines are.
    Bridge {
        /// That interface.
        uplink: String,
        /// True if it may be the one that the host's default route leads to.
        may_be_default: bool,
    },
    /// It has addresses of its own, and what its guests send elsewhere has the host's.
    Nat {
        /// Its addresses.
        subnet: Subnet,
        /// The interface that leads elsewhere; without one, that of the default route.
        uplink: Option<String>,
        /// The ports of guests that are reached from elsewhere.
        publish: Vec<Publish>,
    },
}

/// A network that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: NetworkName,
    /// The other machines that it is connected with.
    pub mode: Mode,
    /// The number of guests it has room for.
    pub taps: usize,
    /// Whose guests, by number.
    pub owner: u32,
}

/// The network, and the changes that make it, in their order.
///
/// # Errors
/// When this host has something else already where it would be.
pub(super) fn of(wanted: &Wanted) -> Result<(Record, Vec<Change>)> {
    let bridge = format!("uml-{}", wanted.name);
    let taps: Vec<String> =
        (0..wanted.taps).map(|number| format!("uml-{}-{number}", wanted.name)).collect();
    if super::record::names().contains(&wanted.name) {
        let (xtask, name) = (invocation::command(), &wanted.name);
        bail!(
            "a network `{name}` is there: `{xtask} net status` shows it, `{xtask} net down {name}` undoes it"
        );
    }
    for name in [&bridge].into_iter().chain(&taps) {
        ensure!(
            !ip::exists(name),
            "an interface {name} is there, which is not ours: choose another name"
        );
    }
    let mut record = Record {
        name: wanted.name.clone(),
        bridge,
        uplink: None,
        taps,
        owner: wanted.owner,
        subnet: None,
        gateway: None,
        name_servers: name_servers(),
        has_dhcp: matches!(wanted.mode, Mode::Bridge { .. }),
        place: NetworkPlace::here()?,
    };
    let mut changes = of_device(wanted.owner);
    match &wanted.mode {
        Mode::Bridge { uplink, may_be_default } => {
            bridged(&mut record, &mut changes, uplink, *may_be_default)?;
        }
        Mode::Nat { subnet, uplink, publish } => {
            translated(&mut record, &mut changes, *subnet, uplink.as_deref(), publish)?;
        }
    }
    Ok((record, changes))
}

/// The changes that let the owner open the device of taps. Nobody has a tap of others by that: to attach to one, one has to be its
/// owner (drivers/net/tun.c, `tun_not_capable`). Hosts with systemd have the same mode (rules.d/50-udev-default.rules).
fn of_device(owner: u32) -> Vec<Change> {
    let mut changes = Vec::new();
    if !Path::new(TUN).exists() {
        changes.push(Change::Module { name: "tun".into() });
    }
    let mode = mode_of(TUN).unwrap_or(0o666);
    if owner != 0 {
        changes.push(Change::Mode { path: TUN.into(), old: mode, new: mode | 0o666 });
    }
    changes
}

/// The setting that has an interface forward what comes by it, by its file below `/proc/sys`.
pub(super) fn forwarding(interface: &str) -> String {
    format!("net/ipv4/conf/{interface}/forwarding")
}

fn of_link(line: String) -> Change {
    Change::OfLink { make: Line::new(&line) }
}

/// A bridge, whose frames go at once, with these words for ip(8); and its taps.
pub(super) fn bridge(record: &Record, words: &str) -> Vec<Change> {
    let Record { bridge, taps, owner, .. } = record;
    let make = format!("ip link add name {bridge} {words} type bridge stp_state 0 forward_delay 0");
    let mut changes = vec![Change::Link { name: bridge.clone(), make: Line::new(&make) }];
    for tap in taps {
        let make = Line::new(&format!("ip tuntap add dev {tap} mode tap user {owner}"));
        changes.push(Change::Link { name: tap.clone(), make });
        changes.push(of_link(format!("ip link set dev {tap} master {bridge} up")));
    }
    changes.push(of_link(format!("ip link set dev {bridge} up")));
    changes
}

fn bridged(
    record: &mut Record,
    changes: &mut Vec<Change>,
    uplink: &str,
    may_be_default: bool,
) -> Result<()> {
    ensure!(ip::exists(uplink), "no interface `{uplink}` is on this host: `ip link` shows them");
    let interface = ip::interface(uplink)?;
    if let Some(master) = &interface.master {
        bail!("{uplink} is a port of {master} already");
    }
    let carries = ip::default_route()?.is_some_and(|route| route.dev.as_deref() == Some(uplink));
    ensure!(
        !carries || may_be_default,
        "{uplink} carries the default route: whoever works here over it may be cut off for a moment; `--yes` does it, \
         and takes it back if the gateway does not answer"
    );
    let takeover = Takeover::of(&interface, &record.bridge)?;
    record.gateway = takeover.gateway();
    record.uplink = Some(uplink.into());
    // The hardware address that the network knows the host's addresses by.
    let address =
        interface.address.as_deref().context("an interface without an address of hardware")?;
    changes.extend(bridge(record, &format!("address {address}")));
    changes.push(Change::Takeover(takeover));
    Ok(())
}

/// Refuses a subnet that packets have a way to already.
fn ensure_free(subnet: Subnet) -> Result<()> {
    for route in ip::routes("table all")? {
        let Ok(there) = route.dst.parse::<Subnet>() else { continue };
        ensure!(
            !there.overlaps(subnet),
            "{subnet} is where {} leads already, by {}: `--subnet` says another",
            route.dst,
            route.dev.as_deref().unwrap_or("a route without an interface")
        );
    }
    Ok(())
}

fn translated(
    record: &mut Record,
    changes: &mut Vec<Change>,
    subnet: Subnet,
    uplink: Option<&str>,
    publish: &[Publish],
) -> Result<()> {
    let room = u32::try_from(record.taps.len()).unwrap_or(u32::MAX);
    let (Some(host), Some(_)) = (subnet.address(HOST), subnet.address(HOST.saturating_add(room)))
    else {
        bail!("{subnet} has no room for the host and {room} guests");
    };
    ensure_free(subnet)?;
    for one in publish {
        ensure!(
            subnet.contains(one.to.0),
            "{} is not in {subnet}: nothing can be published from there",
            one.to.0
        );
    }
    if let Some(uplink) = uplink {
        ensure!(
            ip::exists(uplink),
            "no interface `{uplink}` is on this host: `ip link` shows them"
        );
    }
    let default = ip::default_route()?.and_then(|route| route.dev);
    record.uplink = uplink.map(String::from).or(default);
    record.subnet = Some(subnet);
    record.gateway = Some(host);
    changes.extend(bridge(record, ""));
    let name = &record.bridge;
    changes
        .push(of_link(format!("ip address add {host}/{} broadcast + dev {name}", subnet.prefix())));
    // An interface alone, and not `ip_forward`: that makes a router of the host between all of its networks, and sets
    // every other one (Documentation/networking/ip-sysctl.rst).
    for interface in [Some(name), record.uplink.as_ref()].into_iter().flatten() {
        let key = forwarding(interface);
        if interface == name {
            let make = write_setting(&key, "1");
            changes.push(Change::OfLink { make });
        } else {
            changes.extend(Change::setting(&key, "1"));
        }
    }
    changes.extend(packet_filter::rules(name, subnet, publish)?);
    if let Some(service) = name_service::served(record, subnet) {
        changes.push(service);
        record.has_dhcp = true;
        record.name_servers = vec![host];
    }
    Ok(())
}

impl Record {
    /// The address of the guest at the tap with that number, where the network has addresses of its own.
    pub fn guest(&self, tap: usize) -> Option<Ipv4Addr> {
        self.subnet?.address(FIRST_GUEST.checked_add(u32::try_from(tap).ok()?)?)
    }
}
