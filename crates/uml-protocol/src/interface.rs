//! Requests about network interfaces, as netdevice(7) describes them.

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
    // SAFETY: socket(2) takes plain numbers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    Errno::result(socket)?;
    // SAFETY: the descriptor was made just now, and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is a whole `ifreq` and outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) };
    Errno::result(done).map(drop)
}
