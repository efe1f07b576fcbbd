//! A guest's management console (Documentation/virt/uml/user_mode_linux_howto_v2.rst): a datagram
//! socket, on which the kernel answers in an interrupt, even when no process of the guest runs.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// The magic number and the version of a request, and the room for its command, in bytes: those of
/// `struct mconsole_request` in arch/um/drivers/mconsole.h, in the host's byte order.
const MAGIC: u32 = 0xcafe_babe;
const VERSION: u32 = 2;
const ROOM: usize = 512;

/// Sends a command to the guest whose `umid` is `guest` in `uml_dir`.
pub(super) fn send(uml_dir: &str, command: &str) -> Result<()> {
    let path = Path::new(uml_dir).join("guest/mconsole");
    let socket = UnixDatagram::unbound().context("cannot make a socket")?;
    // A guest that takes nothing any more must not stop the stage.
    socket.set_nonblocking(true)?;
    socket
        .send_to(&request(command)?, &path)
        .with_context(|| format!("cannot send to {}", path.display()))?;
    Ok(())
}

fn request(command: &str) -> Result<Vec<u8>> {
    ensure!(command.len() < ROOM, "a command of {} bytes is too long", command.len());
    let length = u32::try_from(command.len())?;
    let mut request: Vec<u8> =
        [MAGIC, VERSION, length].iter().flat_map(|word| word.to_ne_bytes()).collect();
    request.extend(command.as_bytes());
    request.resize(12 + ROOM, 0);
    Ok(request)
}
