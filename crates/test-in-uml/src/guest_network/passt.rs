//! A way out for an ordinary user: passt(1), which speaks for the guest with sockets of its own.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read as _, Seek as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::cancel::CancelToken;
use crate::stage::{HEADER, LONGEST};

/// How often it is looked whether it is ready.
const PERIOD: Duration = Duration::from_millis(5);

/// A frame is preceded by its length, as QEMU has it on a socket of streams (`-netdev stream`).
const LENGTH: usize = 4;

/// The longest packet that a guest is sent: its interface takes no longer one.
const MTU: &str = "1500";

/// The bytes that have arrived, and room for more.
#[derive(Debug)]
struct Arrived {
    bytes: Vec<u8>,
    room: Box<[u8]>,
}

/// The process. It ends with its socket, of which we have the other end.
#[derive(Debug)]
pub(super) struct Passt {
    socket: UnixStream,
    process: Child,
    arrived: Mutex<Arrived>,
    /// The bytes that it has not read yet of the frames that were sent.
    leaving: Mutex<Vec<u8>>,
}

impl Passt {
    /// Starts it, and waits until it serves; `publish` are ports of the host and of the guest, by TCP.
    ///
    /// # Errors
    /// When it is not installed or refuses to serve; the message has what it said.
    pub fn start(cancel: &CancelToken, publish: &[(u16, u16)]) -> Result<Self> {
        let (socket, theirs) = UnixStream::pair().context("cannot make a pair of sockets")?;
        let mut said = tempfile::tempfile().context("cannot make a temporary file")?;
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let ready = folder.path().join("ready");
        let opened = File::create(&ready).context("cannot make a temporary file")?;
        if nix::unistd::geteuid().is_root() {
            // It becomes nobody before it writes there.
            fs::set_permissions(folder.path(), Permissions::from_mode(0o711))
                .and_then(|()| opened.set_permissions(Permissions::from_mode(0o666)))
                .context("cannot give a temporary file away")?;
        }
        let mut passt = Command::new("passt");
        // What it is told of ports is a list; without one it takes none.
        let ports: Vec<String> = publish.iter().map(|(port, to)| format!("{port}:{to}")).collect();
        let ports = if ports.is_empty() { "none".into() } else { ports.join(",") };
        passt.args(["--foreground", "--quiet", "--fd", "0", "--mtu", MTU, "--udp-ports", "none"]);
        // The gateway is the gateway: by itself passt takes its address for that of the host, where services listen that are for
        // the host alone.
        passt.args(["--no-map-gw", "--tcp-ports", &ports, "--pid"]).arg(&ready);
        passt.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        passt.stderr(Stdio::from(said.try_clone().context("cannot share a file")?));
        let started = passt.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                anyhow::anyhow!("no `passt` is on this host: install the package passt")
            }
            _ => anyhow::Error::from(error).context("cannot start passt"),
        });
        // The command has its end of the pair.
        drop(passt);
        let mut passt = Self {
            socket,
            process: started?,
            arrived: Mutex::new(Arrived { bytes: Vec::new(), room: vec![0; LONGEST].into() }),
            leaving: Mutex::default(),
        };
        while fs::metadata(&ready).map_or(0, |file| file.len()) == 0 {
            cancel.check()?;
            if let Some(status) = passt.process.try_wait().context("cannot wait for passt")? {
                bail!("passt does not serve ({status}): {}", text_of(&mut said));
            }
            std::thread::sleep(PERIOD);
        }
        Ok(passt)
    }

    /// The next frame, with room for a header before it; its length. Nothing waits.
    ///
    /// # Errors
    /// [`Errno::EAGAIN`] when there is none now; others when there will be none.
    pub fn receive(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        let mut arrived = self.arrived();
        let Arrived { bytes, room } = &mut *arrived;
        loop {
            if let Some(length) = first_frame(bytes) {
                if length > buffer.len() - HEADER {
                    return Err(Errno::EMSGSIZE);
                }
                buffer[..HEADER].fill(0);
                buffer[HEADER..HEADER + length].copy_from_slice(&bytes[LENGTH..LENGTH + length]);
                bytes.drain(..LENGTH + length);
                return Ok(HEADER + length);
            }
            match recv(self.socket.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(Errno::EPIPE),
                Ok(count) => bytes.extend(&room[..count]),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Returns true if a frame has arrived already, which the descriptor does not tell.
    pub fn has_frame(&self) -> bool {
        first_frame(&self.arrived().bytes).is_some()
    }

    /// Sends a frame, which has a header before it, at once or by [`Passt::has_room`]. Nothing waits: passt itself may wait for
    /// us to read.
    pub fn send(&self, frame: &[u8]) {
        let frame = frame.get(HEADER..).unwrap_or_default();
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes();
        self.leaving().extend([&length[..], frame].concat());
        self.has_room();
    }

    /// Sends what is left of earlier frames; true if nothing is left.
    pub fn has_room(&self) -> bool {
        let mut leaving = self.leaving();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        while !leaving.is_empty() {
            match send(self.socket.as_raw_fd(), &leaving, flags) {
                Ok(count) => drop(leaving.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return false,
                // One that is gone loses it.
                Err(_) => leaving.clear(),
            }
        }
        true
    }

    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leaving(&self) -> MutexGuard<'_, Vec<u8>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The length of the first frame, if all of it is there.
fn first_frame(arrived: &[u8]) -> Option<usize> {
    let length = usize::try_from(u32::from_be_bytes(*arrived.first_chunk::<LENGTH>()?)).ok()?;
    (arrived.len() >= LENGTH + length).then_some(length)
}

fn text_of(file: &mut File) -> String {
    let mut text = String::new();
    // What cannot be read says nothing.
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
    text.trim().into()
}

impl AsFd for Passt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_once_all_of_it_is_there() {
        let bytes = [0, 0, 0, 3, b'a', b'b', b'c', 0, 0];
        for cut in 0..7 {
            assert_eq!(first_frame(&bytes[..cut]), None, "{cut}");
        }
        assert_eq!(first_frame(&bytes), Some(3));
        assert_eq!(first_frame(&[0xff; 100]), None);
    }
}
