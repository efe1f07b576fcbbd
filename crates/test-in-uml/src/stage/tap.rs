//! The taps of a guest, made by ip(8).

use std::io::{ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::link::Link;
use super::packets;
use crate::confine::TUN;
use crate::invocation;

/// Makes it in the network namespace that we are in; `owner` may open it.
pub(super) fn add(link: &Link, owner: u32) -> Result<()> {
    uml_protocol::interface::bring_up("lo").context("cannot bring the loopback up")?;
    let (tap, address) = (link.interface(), link.host_with_prefix());
    let batch = format!(
        "tuntap add dev {tap} mode tap user {owner}\naddress add {address} dev {tap}\n\
         link set {tap} up\n"
    );
    ip(&batch).with_context(hint)
}

/// Makes one more tap in the network namespace that we are in, for a network of guests; returns a socket that has
/// the frames that its guest sends, and gives it others (packet(7)). Each is preceded by a `virtio_net_hdr`
/// (PACKET_VNET_HDR): what the sender left to a network card stays in one piece until it is known who gets it.
pub(super) fn add_interface(name: &str, owner: u32) -> Result<OwnedFd> {
    // The host itself has nothing to say there.
    ip(&format!(
        "tuntap add dev {name} mode tap user {owner}\nlink set {name} addrgenmode none arp off\n\
         link set {name} txqueuelen 10000 up\n"
    ))
    .with_context(hint)?;
    packets::socket(name)
}

fn hint() -> String {
    let xtask = invocation::command();
    format!("if {TUN} may not be opened, `{xtask} doctor` names the cure")
}

/// Gives ip(8) several commands at once: to start it costs more than any of them.
fn ip(batch: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = match command.stderr(Stdio::piped()).spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("no `ip` on this host: install the package iproute2")
        }
        other => other.context("cannot start ip")?,
    };
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(batch.as_bytes()).context("cannot write to ip")?;
    }
    let output = child.wait_with_output().context("cannot wait for ip")?;
    ensure!(
        output.status.success(),
        "`ip -batch -` failed: {}\n{batch}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
