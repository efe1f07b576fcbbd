//! A guest on a network of the host: its second interface is plugged into a tap there.
//!
//! The tap is in the host's network namespace, the guest in one of its own. What passes between them passes by us: that
//! needs no privilege, and is the same for guests that have taps and for those that have sockets.

use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use sha2::{Digest as _, Sha256};

use super::name::GuestName;
use crate::cancel::CancelToken;
use crate::guest::Interface;
use crate::host_network::{Plug, Record, Subnet};
use crate::kernel::NetDriver;
use crate::stage::{InterfaceEnd, LONGEST};

/// How often, in milliseconds, it is looked whether the guest is over.
const PERIOD: u8 = 100;

/// So many frames go one way before the other has its turn.
const BURST: usize = 64;

/// Who gives a guest its address on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressBy {
    /// We do: the address of its tap, where the network has addresses of its own; else a server of the network.
    Network,
    /// A DHCP server of the network.
    Dhcp,
    /// The person.
    Person(Ipv4Addr, u8),
}

/// A guest's place on a network.
#[derive(Debug)]
pub struct GuestNetwork {
    /// The network.
    record: Record,
    plug: Plug,
    /// Its address there and the length of its prefix; none if a server gives it one.
    address: Option<(Ipv4Addr, Subnet)>,
    mac: String,
}

impl GuestNetwork {
    /// Plugs a guest in.
    ///
    /// # Errors
    /// When the network has no place for it, or no such address.
    pub fn plug(
        record: Record,
        guest: &GuestName,
        by: AddressBy,
        mac: Option<String>,
    ) -> Result<Self> {
        let plug = crate::host_network::plug(&record)?;
        let address = match (by, record.subnet) {
            (AddressBy::Network, Some(subnet)) => Some((
                record.guest(plug.number).context("the network has no address for it")?,
                subnet,
            )),
            (AddressBy::Network | AddressBy::Dhcp, _) => None,
            (AddressBy::Person(address, _), Some(subnet)) => {
                ensure!(
                    subnet.contains(address),
                    "{address} is not in {subnet}, which is `{}`",
                    record.name
                );
                Some((address, subnet))
            }
            (AddressBy::Person(address, prefix), None) => {
                Some((address, Subnet::around(address, prefix)))
            }
        };
        let mac = mac.unwrap_or_else(|| mac_of(guest, &record));
        Ok(Self { record, plug, address, mac })
    }

    /// Its interface, on the host's side.
    pub(super) fn interface(&self) -> Interface {
        Interface { name: "net1".into(), mac: self.mac.clone() }
    }

    /// What the guest's kernel is told of it.
    pub(super) fn arguments(&self, driver: NetDriver) -> Vec<String> {
        let interface = driver.interface(1);
        let Some((address, subnet)) = self.address else {
            return vec![format!("ip=:::::{interface}:dhcp")];
        };
        let gateway = self.record.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
        let netmask = subnet.netmask();
        let mut arguments = vec![format!("ip={address}::{gateway}:{netmask}:uml:{interface}:off")];
        if !self.record.name_servers.is_empty() {
            let servers: Vec<String> =
                self.record.name_servers.iter().map(Ipv4Addr::to_string).collect();
            arguments.push(format!(
                "{}={}",
                uml_protocol::commands::NAME_SERVERS,
                servers.join(",")
            ));
        }
        arguments
    }

    /// It in a few words.
    pub(super) fn about(&self) -> String {
        let address =
            self.address.map_or("an address by DHCP".into(), |(address, _)| address.to_string());
        format!("{address} on {}", self.record.name)
    }

    /// Passes frames on until the guest is over.
    pub(super) fn serve(&self, guest: &InterfaceEnd, over: &CancelToken) {
        let tap = &self.plug.tap;
        let mut frame = vec![0; LONGEST];
        while over.check().is_ok() {
            let mut fds = [
                PollFd::new(guest.as_fd(), PollFlags::POLLIN),
                PollFd::new(tap.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PERIOD) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(_) => return,
            }
            for _ in 0..BURST {
                let Ok(count) = guest.receive(&mut frame) else { break };
                tap.send(&frame[..count]);
            }
            for _ in 0..BURST {
                let Ok(count) = tap.receive(&mut frame) else { break };
                // One that the guest has no room for is lost, as on a wire.
                let _ = guest.send(&frame[..count]);
            }
        }
    }
}

/// A hardware address that no other guest of this network has, and this one always.
fn mac_of(guest: &GuestName, record: &Record) -> String {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let hash = Sha256::digest(format!("{machine} {} {guest}", record.name));
    // The two lowest bits of the first byte: locally administered, and not for several.
    format!("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", hash[0], hash[1], hash[2], hash[3], hash[4])
}

/// Checks a hardware address that a guest can have.
///
/// # Errors
/// When it is none, or one for several.
pub fn checked_mac(text: &str) -> Result<String> {
    let bytes: Vec<u8> = text
        .split(':')
        .filter_map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2))
        .collect();
    if bytes.len() != 6 || text.len() != 17 {
        bail!("a hardware address is six bytes, as in 02:00:00:00:00:01");
    }
    ensure!(
        bytes[0] & 1 == 0,
        "{text} is for several: the lowest bit of the first byte is 0 of one"
    );
    Ok(text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_is_one_guests() {
        assert_eq!(checked_mac("02:00:00:00:00:0A").unwrap(), "02:00:00:00:00:0a");
        for wrong in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:0",
            "03:00:00:00:00:01",
            "02-00-00-00-00-01",
            "02:00:00:00:00:0g",
        ] {
            assert!(checked_mac(wrong).is_err(), "{wrong:?}");
        }
    }
}
