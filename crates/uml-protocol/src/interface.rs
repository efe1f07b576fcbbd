//! Requests about network interfaces, as netdevice(7) describes them.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// An `ifreq` for the interface called `name`, all else zero. A name that is too long is cut.
pub fn request(name: &str) -> libc::ifreq {
    // SAFETY: an `ifreq` of zeroes is valid: it is plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

/// Brings an interface up.
///
/// # Errors
/// When there is no such interface, or it may not be changed.
pub fn bring_up(name: &str) -> Result<(), Errno> {
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    ask(&socket()?, libc::SIOCSIFFLAGS, &request)
}

/// Gives an interface its address, and brings it up.
///
/// # Errors
/// When there is no such interface, or it may not be changed.
pub fn give_address(name: &str, address: Ipv4Addr, netmask: Ipv4Addr) -> Result<(), Errno> {
    let socket = socket()?;
    for (what, address) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, netmask)] {
        let mut request = request(name);
        request.ifr_ifru.ifru_addr = socket_address(address);
        ask(&socket, what, &request)?;
    }
    bring_up(name)
}

fn socket() -> Result<OwnedFd, Errno> {
    // SAFETY: socket(2) takes plain numbers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    Errno::result(socket)?;
    // SAFETY: the descriptor was made just now, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

fn ask(socket: &OwnedFd, what: libc::Ioctl, request: &libc::ifreq) -> Result<(), Errno> {
    // SAFETY: the request is a whole `ifreq` and outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), what, request) };
    Errno::result(done).map(drop)
}

/// An address as ip(7) has it in a `sockaddr`: the port, which is none here, and the address in the order of networks.
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut sa_data = [0; 14];
    for (to, from) in sa_data[2..6].iter_mut().zip(address.octets()) {
        *to = from.cast_signed();
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data }
}
