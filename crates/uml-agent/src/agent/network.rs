//! The network that all cases share: interfaces, addresses, routes, rules and queueing disciplines of the
//! guest, whose changes the kernel tells (rtnetlink(7)).

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nameindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use uml_protocol::wire::Leftover;

/// The network, watched from now on.
pub struct Network {
    socket: OwnedFd,
    /// The numbers of the interfaces that there were.
    interfaces: BTreeSet<i32>,
}

/// A change that the kernel told.
struct Change {
    kind: u16,
    interface: Option<i32>,
    what: String,
}

impl Network {
    pub fn watch() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let route = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, route)
            .context("cannot watch the network")?;
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_TC
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV4_RULE
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV6_ROUTE;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups.cast_unsigned()))
            .context("cannot watch the network")?;
        let all = if_nameindex().context("cannot list the interfaces")?;
        let interfaces = all.iter().map(|found| found.index().cast_signed()).collect();
        Ok(Self { socket, interfaces })
    }

    /// Readable when something has changed.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Names what is not as it was. An interface that came and went, with all that it had, is nothing.
    pub fn changed(&self) -> Vec<Leftover> {
        let mut changes = Vec::new();
        let mut buffer = vec![0; 32 << 10];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(count) => changes.extend(messages(&buffer[..count])),
                Err(Errno::ENOBUFS) => changes.push(Change {
                    kind: 0,
                    interface: None,
                    what: "more changes than could be followed".into(),
                }),
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        let gone: BTreeSet<i32> = changes
            .iter()
            .filter(|change| change.kind == libc::RTM_DELLINK)
            .filter_map(|change| change.interface)
            .filter(|number| !self.interfaces.contains(number))
            .collect();
        let mut named = Vec::new();
        for Change { interface, what, .. } in changes {
            let is_gone = interface.is_some_and(|number| gone.contains(&number));
            if !is_gone && !named.contains(&what) {
                named.push(what);
            }
        }
        named.into_iter().map(Leftover::Network).collect()
    }
}

/// The messages in a datagram (netlink(7)), each after its header of 16 bytes.
fn messages(mut bytes: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    while let (Some(length), Some(kind)) = (number(bytes, 0), half(bytes, 4)) {
        let length = usize::try_from(length).unwrap_or(0);
        let Some(body) = bytes.get(16..length) else { break };
        changes.extend(change(kind, body));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    changes
}

/// What a message tells.
fn change(kind: u16, body: &[u8]) -> Option<Change> {
    /// Attributes (rtnetlink(7)).
    const IFLA_IFNAME: u16 = 3;
    const RTA_OIF: u16 = 4;
    let is_gone = if matches!(
        kind,
        libc::RTM_DELLINK
            | libc::RTM_DELADDR
            | libc::RTM_DELROUTE
            | libc::RTM_DELRULE
            | libc::RTM_DELQDISC
    ) {
        " that is gone"
    } else {
        ""
    };
    let (what, interface) = match kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK => {
            let name = attribute(body.get(16..)?, IFLA_IFNAME).unwrap_or_default();
            let name = String::from_utf8_lossy(name);
            (format!("interface {}", name.trim_end_matches('\0')), number(body, 4))
        }
        libc::RTM_NEWADDR | libc::RTM_DELADDR => ("an address".into(), number(body, 4)),
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            ("a route".into(), number(attribute(body.get(12..)?, RTA_OIF).unwrap_or_default(), 0))
        }
        libc::RTM_NEWRULE | libc::RTM_DELRULE => ("a routing rule".into(), None),
        libc::RTM_NEWQDISC | libc::RTM_DELQDISC => {
            ("a queueing discipline".into(), number(body, 4))
        }
        _ => return None,
    };
    let interface = interface.map(u32::cast_signed);
    Some(Change { kind, interface, what: format!("{what}{is_gone}") })
}

/// The value of an attribute.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let (Some(length), Some(kind)) = (half(bytes, 0), half(bytes, 2)) {
        let length = usize::from(length);
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
