//! The link of one guest: a tap, and an address for each of its ends.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::host_stack::Ends;
use crate::kernel::NetDriver;

/// The network that links are cut from. Each exists in a network namespace of its own on the stage, so that
/// it never collides with a network of the host, and no guest reaches another.
const NETWORK: u32 = u32::from_be_bytes([10, 85, 0, 0]);

/// Each link is a /30: the network, the host end, the guest, the broadcast address.
const PREFIX: u8 = 30;

/// The number of links the network has room for.
const ROOM: u16 = 1 << (PREFIX - 16);

/// A guest's link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    index: u16,
    /// The guest's own folder.
    dir: String,
}

impl Link {
    /// The link with that number, on the stage in this folder.
    pub(crate) fn numbered(stage: &Path, index: u16) -> Result<Self> {
        ensure!(index < ROOM, "a run has room for {ROOM} links, and this is one more");
        Ok(Self { index, dir: format!("{}/{index}", stage.display()) })
    }

    /// The number of the link that an address belongs to.
    pub(super) fn index_of(address: Ipv4Addr) -> Result<u16> {
        let offset = u32::from(address).checked_sub(NETWORK).map(u32::to_be_bytes);
        let Some([0, 0, high, low]) = offset else {
            bail!("{address} is no address of a link");
        };
        Ok(u16::from_be_bytes([high, low]) / 4)
    }

    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// The name of the guest's interface on the host.
    pub fn interface(&self) -> String {
        format!("tap{}", self.index)
    }

    /// The address of the host end.
    pub fn host(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// The guest's address.
    pub fn guest(&self) -> Ipv4Addr {
        self.address(2)
    }

    /// The netmask of both.
    pub fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::MAX << (32 - PREFIX))
    }

    /// Its ends, where that of the host is ours.
    pub(super) fn ends(&self, driver: NetDriver) -> Ends {
        let [high, low] = self.index.to_be_bytes();
        let hardware = [0x02, 0, 0x0a, 0x56, high, low];
        Ends {
            own: self.host(),
            prefix: PREFIX,
            hardware,
            guest: self.guest(),
            mtu: driver.socket_mtu(),
        }
    }

    /// The host end with its prefix length, as `ip address add` takes it.
    pub fn host_with_prefix(&self) -> String {
        format!("{}/{PREFIX}", self.host())
    }

    /// The guest's hardware address: locally administered, the same at every boot.
    pub fn mac(&self) -> String {
        let [high, low] = self.index.to_be_bytes();
        format!("02:00:0a:55:{high:02x}:{low:02x}")
    }

    /// The guest's own folder on the stage.
    pub fn dir(&self) -> String {
        self.dir.clone()
    }

    fn address(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(NETWORK + u32::from(self.index) * 4 + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_do_not_overlap_and_stay_in_the_network() {
        let numbered = |index| Link::numbered(Path::new("/stage"), index);
        let first = numbered(0).unwrap();
        assert_eq!(first.dir(), "/stage/0");
        assert_eq!(first.host().to_string(), "10.85.0.1");
        assert_eq!(first.guest().to_string(), "10.85.0.2");
        assert_eq!(first.netmask().to_string(), "255.255.255.252");
        let last = numbered(ROOM - 1).unwrap();
        assert_eq!(last.guest().to_string(), "10.85.255.254");
        assert_ne!(first.mac(), last.mac());
        for link in [first, last] {
            assert_eq!(Link::index_of(link.host()).unwrap(), link.index());
            assert_eq!(Link::index_of(link.guest()).unwrap(), link.index());
        }
        for other in [[127, 0, 0, 1], [10, 84, 255, 255], [10, 86, 0, 1]] {
            assert!(Link::index_of(other.into()).is_err(), "{other:?}");
        }
        assert!(numbered(ROOM).is_err());
    }
}
