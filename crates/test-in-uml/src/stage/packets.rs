//! Sockets for whole frames of one interface (packet(7)).

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::libc;

/// Every frame, whatever it carries.
const ETH_P_ALL: u16 = 3;

/// A socket bound to the interface `name`, which does not block. Frames come and go with a `virtio_net_hdr`, and what
/// the host itself sends there is not seen.
pub(super) fn socket(name: &str) -> Result<OwnedFd> {
    let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes plain numbers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, flags, 0) };
    let fd = Errno::result(fd).context("cannot make a packet socket")?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    for option in [libc::PACKET_VNET_HDR, libc::PACKET_IGNORE_OUTGOING] {
        set(&socket, libc::SOL_PACKET, option, 1).context("cannot set up a packet socket")?;
    }
    // More than one burst of a window of TCP.
    for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        let _ = set(&socket, libc::SOL_SOCKET, option, 8 << 20);
    }
    // SAFETY: all zeroes are a valid address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETH_P_ALL.to_be();
    let index = nix::net::if_::if_nametoindex(name).context("no such interface")?;
    address.sll_ifindex = index.cast_signed();
    // SAFETY: the address is as long as is said, and outlives the call.
    let done = unsafe {
        let size = size_of_val(&address) as libc::socklen_t;
        libc::bind(fd, std::ptr::from_ref(&address).cast(), size)
    };
    Errno::result(done).with_context(|| format!("cannot bind a packet socket to {name}"))?;
    Ok(socket)
}

fn set(socket: &OwnedFd, level: i32, option: i32, value: i32) -> nix::Result<()> {
    // SAFETY: the value is as long as is said, and outlives the call.
    let done = unsafe {
        let size = size_of::<i32>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(&value).cast(), size)
    };
    Errno::result(done).map(drop)
}
