//! A range of IPv4 addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A range of addresses, `ADDRESS/PREFIX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr =
            address.parse().map_err(|_| format!("`{address}` is no IPv4 address"))?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32);
        let prefix: u8 = prefix.ok_or("a prefix is a number from 0 to 32")?;
        let subnet = Self::around(address, prefix);
        if subnet.base != address.to_bits() {
            return Err(format!("{address} is not the first address: {subnet} is meant"));
        }
        Ok(subnet)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl Subnet {
    /// The one with that address in it.
    pub fn around(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { base: address.to_bits() & mask(prefix), prefix }
    }

    /// The length of its prefix.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The mask that says the same.
    pub fn netmask(self) -> Ipv4Addr {
        mask(self.prefix).into()
    }

    /// Its address with this number: that of the network itself is 0. None that is for all, or beyond its end.
    pub fn address(self, number: u32) -> Option<Ipv4Addr> {
        let last = !mask(self.prefix);
        (number < last).then(|| Ipv4Addr::from(self.base + number))
    }

    /// Its last address that is not for all.
    pub(super) fn last_address(self) -> Option<Ipv4Addr> {
        self.address((!mask(self.prefix)).checked_sub(1)?)
    }

    /// Returns true if that address is in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.base
    }

    /// Returns true if an address is in both.
    pub(super) fn overlaps(self, other: Self) -> bool {
        let shorter = mask(self.prefix.min(other.prefix));
        self.base & shorter == other.base & shorter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn a_subnet_has_the_addresses_below_its_prefix() {
        let net = subnet("192.168.2.0/24");
        assert_eq!(net.to_string(), "192.168.2.0/24");
        assert_eq!(net.netmask().to_string(), "255.255.255.0");
        assert_eq!(net.address(1).unwrap().to_string(), "192.168.2.1");
        assert_eq!((net.address(254).is_some(), net.address(255)), (true, None));
        assert_eq!(net.last_address(), net.address(254));
        assert_eq!(subnet("10.0.0.0/30").address(3), None);
        assert_eq!(subnet("10.0.0.0/32").last_address(), None);
        assert!(net.contains([192, 168, 2, 255].into()) && !net.contains([192, 168, 3, 0].into()));
        for wrong in ["192.168.2.1/24", "192.168.2.0/33", "x/24", "1.2.3/8", ""] {
            assert!(wrong.parse::<Subnet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_in_both_is_seen_either_way() {
        for (one, other, both) in [
            ("192.168.2.0/24", "192.168.0.0/16", true),
            ("192.168.2.0/24", "192.168.2.128/25", true),
            ("192.168.2.0/24", "192.168.3.0/24", false),
            ("192.168.2.0/24", "0.0.0.0/0", true),
            ("192.168.2.7", "192.168.2.0/24", true),
        ] {
            assert_eq!(subnet(one).overlaps(subnet(other)), both, "{one} {other}");
            assert_eq!(subnet(other).overlaps(subnet(one)), both, "{other} {one}");
        }
    }
}
