//! A guest on a network of the host: its second interface is plugged into a tap there, or into passt(1).
//!
//! A tap is in the host's network namespace, the guest in one of its own. What passes between them passes by us: that
//! needs no privilege, and is the same for guests that have taps and for those that have sockets.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use sha2::{Digest as _, Sha256};

use crate::cancel::CancelToken;
use crate::guest::Interface;
use crate::host_network::{Plug, Record, Subnet, Tap};
use crate::kernel::NetDriver;
use crate::stage::{InterfaceEnd, LONGEST};

mod passt;

use passt::Passt;

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
    /// The name of the network, for others.
    name: String,
    wire: Wire,
    /// Its address there, and the network's; none if a server gives it one.
    address: Option<(Ipv4Addr, Subnet)>,
    gateway: Option<Ipv4Addr>,
    name_servers: Vec<Ipv4Addr>,
    mac: String,
}

/// The host's end of the cable that a guest is plugged in with.
#[derive(Debug)]
enum Wire {
    Tap(Tap),
    Passt(Passt),
}

impl Wire {
    fn receive(&self, frame: &mut [u8]) -> nix::Result<usize> {
        match self {
            Wire::Tap(tap) => tap.receive(frame),
            Wire::Passt(passt) => passt.receive(frame),
        }
    }

    fn send(&self, frame: &[u8]) {
        match self {
            Wire::Tap(tap) => tap.send(frame),
            Wire::Passt(passt) => passt.send(frame),
        }
    }

    /// Returns true if it takes a frame now.
    fn has_room(&self) -> bool {
        match self {
            // It loses what there is no room for.
            Wire::Tap(_) => true,
            Wire::Passt(passt) => passt.has_room(),
        }
    }

    /// Returns true if a frame has arrived, which the descriptor does not tell.
    fn has_frame(&self) -> bool {
        match self {
            Wire::Tap(_) => false,
            Wire::Passt(passt) => passt.has_frame(),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Wire::Tap(tap) => tap.as_fd(),
            Wire::Passt(passt) => passt.as_fd(),
        }
    }
}

impl GuestNetwork {
    /// Plugs a guest into a network of the host.
    ///
    /// # Errors
    /// When the network has no place for it, or no such address.
    pub fn plug(record: Record, guest: &str, by: AddressBy, mac: Option<String>) -> Result<Self> {
        let Plug { tap, number } = crate::host_network::plug(&record)?;
        let address = match (by, record.subnet) {
            (AddressBy::Network, Some(subnet)) => {
                let address = record.guest(number).context("the network has no address for it")?;
                Some((address, subnet))
            }
            (AddressBy::Dhcp, _) if !record.has_dhcp => bail!(
                "nothing gives addresses by DHCP on the network `{}`: `net up` starts dnsmasq(8) for that, from the package \
                 dnsmasq-base, where there is room for more addresses than guests",
                record.name
            ),
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
        let name = record.name.to_string();
        let mac = mac.unwrap_or_else(|| mac_of(guest, &name));
        let Record { gateway, name_servers, .. } = record;
        Ok(Self { name, wire: Wire::Tap(tap), address, gateway, name_servers, mac })
    }

    /// Lets a guest reach what we reach, and others these ports of it by ports of ours, over TCP.
    ///
    /// # Errors
    /// When passt(1) cannot serve it.
    pub fn online(
        cancel: &CancelToken,
        guest: &str,
        publish: &[(u16, u16)],
        mac: Option<String>,
    ) -> Result<Self> {
        let name = "the host's own";
        Ok(Self {
            name: name.into(),
            wire: Wire::Passt(Passt::start(cancel, publish)?),
            address: None,
            gateway: None,
            name_servers: Vec::new(),
            mac: mac.unwrap_or_else(|| mac_of(guest, name)),
        })
    }

    /// Its interface, on the host's side.
    pub fn interface(&self) -> Interface {
        Interface { name: "net1".into(), mac: self.mac.clone() }
    }

    /// The arguments that tell the guest's kernel of it.
    pub fn arguments(&self, driver: NetDriver) -> Vec<String> {
        let interface = driver.interface(1);
        let Some((address, subnet)) = self.address else {
            return vec![
                format!("ip=:::::{interface}:dhcp"),
                format!("{}={}", uml_protocol::NAME_SERVERS, uml_protocol::BY_DHCP),
            ];
        };
        let gateway = self.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
        let netmask = subnet.netmask();
        let mut arguments = vec![format!("ip={address}::{gateway}:{netmask}:uml:{interface}:off")];
        if !self.name_servers.is_empty() {
            let servers: Vec<String> = self.name_servers.iter().map(Ipv4Addr::to_string).collect();
            let servers = servers.join(",");
            arguments.push(format!("{}={servers}", uml_protocol::NAME_SERVERS));
        }
        arguments
    }

    /// It in a few words.
    pub fn about(&self) -> String {
        let address =
            self.address.map_or("an address by DHCP".into(), |(address, _)| address.to_string());
        format!("{address} on {}", self.name)
    }

    /// Passes frames on until the guest is over.
    pub fn serve(&self, guest: &InterfaceEnd, over: &CancelToken) {
        let mut frame = vec![0; LONGEST];
        while over.check().is_ok() {
            let (has_frame, has_room) = (self.wire.has_frame(), self.wire.has_room());
            let waits = |is: bool, flag| if is { flag } else { PollFlags::empty() };
            let mut fds = [
                PollFd::new(
                    self.wire.as_fd(),
                    PollFlags::POLLIN | waits(!has_room, PollFlags::POLLOUT),
                ),
                // What the wire does not take yet stays with the guest.
                PollFd::new(guest.as_fd(), PollFlags::POLLIN),
            ];
            let fds = if has_room { &mut fds[..] } else { &mut fds[..1] };
            match poll(fds, if has_frame { 0 } else { PERIOD }) {
                Ok(0) if !has_frame => continue,
                Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(_) => return,
            }
            for _ in 0..BURST {
                if !self.wire.has_room() {
                    break;
                }
                let Ok(count) = guest.receive(&mut frame) else { break };
                self.wire.send(&frame[..count]);
            }
            for _ in 0..BURST {
                let count = match self.wire.receive(&mut frame) {
                    Ok(count) => count,
                    Err(Errno::EAGAIN) => break,
                    // Nobody is at the other end any more.
                    Err(_) => return,
                };
                // One that the guest has no room for is lost, as on a wire.
                let _ = guest.send(&frame[..count]);
            }
        }
    }
}

/// A hardware address that no other guest of this network has, and this one always.
fn mac_of(guest: &str, network: &str) -> String {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let hash = Sha256::digest(format!("{machine} {network} {guest}"));
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
