//! The sockets that a guest's network interface connects to, where it has no tap.
//!
//! Which it is depends on the driver. The vector driver's `bess` transport connects a socket of sequenced packets,
//! and each packet is a frame (`user_init_unix_fds()` in arch/um/drivers/vector_user.c). The old driver's `daemon`
//! transport speaks the protocol of uml_switch, version 3: on a stream it says the address of its datagram socket,
//! is told the address of ours, and each datagram is a frame (arch/um/drivers/daemon_user.c).

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, getsockname, listen,
    setsockopt, socket, sockopt,
};

use crate::kernel::NetDriver;

/// The first word of a request to uml_switch, and the version of its protocol.
const MAGIC: u32 = 0xfeed_face;
const VERSION: u32 = 3;

/// A `sockaddr_un`, and the request that has one after three words (unix(7)).
const ADDRESS: usize = 110;
const REQUEST: usize = 12 + ADDRESS + 2;

/// A guest that connects has said all of its request by then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of frames that may wait for who is to read them.
const BUFFER: usize = 4 << 20;

/// Where a guest's interface called `name` connects to, in its own folder.
pub(crate) fn path(dir: &str, name: &str) -> PathBuf {
    Path::new(dir).join(format!("{name}.net"))
}

/// Where its frames go, if that is not the same.
fn data_path(dir: &str, name: &str) -> PathBuf {
    Path::new(dir).join(format!("{name}.data"))
}

/// Opens the door for an interface of a guest with this driver, whose processes are `owner`'s: the descriptors that
/// [`Door::of`] takes. It must be called in the network namespace of the guest, where its abstract address is.
pub(super) fn open(driver: NetDriver, dir: &str, name: &str, owner: u32) -> Result<Vec<OwnedFd>> {
    let kinds = match driver {
        NetDriver::Vector => vec![(SockType::SeqPacket, path(dir, name))],
        NetDriver::Legacy => {
            vec![(SockType::Stream, path(dir, name)), (SockType::Datagram, data_path(dir, name))]
        }
    };
    let sockets = kinds.into_iter().map(|(kind, path)| {
        let what = || format!("cannot make the socket {}", path.display());
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, kind, flags, None).with_context(what)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(&path)?).with_context(what)?;
        chown(&path, Some(owner), Some(owner)).with_context(what)?;
        if kind != SockType::Datagram {
            listen(&socket, Backlog::new(1)?).with_context(what)?;
        }
        Ok(socket)
    });
    sockets.collect()
}

/// Where one interface of a guest connects, as often as it is brought up.
#[derive(Debug)]
pub(super) struct Door {
    listener: OwnedFd,
    /// For datagrams, where the driver is the old one.
    data: Option<OwnedFd>,
}

/// An interface that is connected.
#[derive(Debug)]
pub(super) struct Connected {
    /// For its frames; it does not block.
    pub frames: OwnedFd,
    /// Held for as long as it is.
    _control: Option<OwnedFd>,
}

impl Door {
    /// The door with these descriptors, which [`open`] made.
    pub fn of(fds: Vec<OwnedFd>) -> Result<Self> {
        let mut fds = fds.into_iter();
        let listener = fds.next().context("the stage sent no socket")?;
        Ok(Self { listener, data: fds.next() })
    }

    /// Readable when a guest waits before it.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The guest that waits before it, if one does.
    ///
    /// # Errors
    /// When what waits there is not a guest's driver.
    pub fn accept(&self) -> Result<Option<Connected>> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = match accept4(self.listener.as_raw_fd(), flags) {
            Ok(fd) => fd,
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => return Ok(None),
            Err(errno) => return Err(errno).context("cannot accept an interface of a guest"),
        };
        // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
        let came = unsafe { OwnedFd::from_raw_fd(fd) };
        let connected = match &self.data {
            None => Connected { frames: came, _control: None },
            Some(data) => {
                let frames = data.try_clone().context("cannot share a socket")?;
                Connected { _control: Some(meet(came.into(), &frames)?), frames }
            }
        };
        // More than one burst of a window of TCP; less is no reason to do without.
        let _ = setsockopt(&connected.frames, sockopt::SndBuf, &BUFFER);
        let _ = setsockopt(&connected.frames, sockopt::RcvBuf, &BUFFER);
        Ok(Some(connected))
    }
}

/// Meets the old driver, which has connected to uml_switch as it believes: `frames` is connected with its interface
/// then. The connection is to be held for as long as that is.
fn meet(mut control: UnixStream, frames: &OwnedFd) -> Result<OwnedFd> {
    control.set_nonblocking(false)?;
    control.set_read_timeout(Some(PATIENCE))?;
    let mut request = [0; REQUEST];
    control.read_exact(&mut request).context("a guest did not say where its interface is")?;
    let words: Vec<u32> = request[..12].chunks(4).map(word).collect();
    ensure!(words == [MAGIC, VERSION, 0], "a guest speaks another protocol than uml_switch's");
    let address: [u8; ADDRESS] = request[12..12 + ADDRESS].try_into()?;
    // An abstract address: whatever else it names is none of a guest's.
    let family = u16::from_ne_bytes([address[0], address[1]]);
    let is_abstract = i32::from(family) == libc::AF_UNIX && address[2] == 0;
    ensure!(is_abstract, "a guest says that its interface is somewhere else");
    // SAFETY: the address is as long as is said, and outlives the call.
    let done = unsafe {
        let size = ADDRESS as libc::socklen_t;
        libc::connect(frames.as_raw_fd(), address.as_ptr().cast(), size)
    };
    Errno::result(done).context("cannot connect to the interface of a guest")?;
    let own = getsockname::<UnixAddr>(frames.as_raw_fd()).context("a socket has no address")?;
    let own = own.path().context("a socket has no path")?.as_os_str().as_bytes();
    let mut reply = [0; ADDRESS];
    reply[..2].copy_from_slice(&family.to_ne_bytes());
    reply[2..2 + own.len()].copy_from_slice(own);
    control.write_all(&reply).context("a guest does not hear where its frames go")?;
    Ok(control.into())
}

fn word(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_ne_bytes)
}

#[cfg(test)]
mod tests;
