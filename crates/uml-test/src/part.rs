//! A part of a scenario: what a case has another guest do. The same test binary does it there, and none of its
//! tests.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::{Command, Stdio, exit};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::sethostname;
use uml_protocol::lab::env;

use crate::TestResult;

/// What offsets of functions are counted from: a binary may be loaded anywhere.
#[inline(never)]
fn anchor() {}

/// How far a function is from [`anchor`].
pub(crate) fn offset_of(function: usize) -> u64 {
    let from = anchor as fn() as usize;
    function.wrapping_sub(from) as u64
}

/// Where the function is that is so far from [`anchor`].
fn at_offset(offset: u64) -> usize {
    let from = anchor as fn() as usize;
    from.wrapping_add(usize::try_from(offset).unwrap_or_default())
}

/// Does what the environment asks for, if it asks for something, and ends the process then.
pub(crate) extern "C" fn run_if_asked() {
    let asked = [env::NAMES, env::SET_UP, env::COMMAND, env::FUNCTION];
    if !asked.iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    exit(match catch_unwind(run) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            eprintln!("Error: {error:#}");
            1
        }
        // The standard library has said it.
        Err(_) => 101,
    });
}

fn run() -> Result<()> {
    // The folder of a case goes with the case, and what is started here may stay.
    std::env::set_current_dir("/").context("cannot leave the package's folder")?;
    name_others()?;
    if std::env::var_os(env::NAMES).is_some() {
        return Ok(());
    }
    if std::env::var_os(env::SET_UP).is_some() {
        return set_up();
    }
    if let Ok(line) = std::env::var(env::COMMAND) {
        let status = Command::new("/bin/sh").args(["-c", &line]).status();
        let status = status.context("cannot start /bin/sh")?;
        exit(status.code().unwrap_or(128));
    }
    let offset = std::env::var(env::FUNCTION)?.parse().context("no offset of a function")?;
    let address = at_offset(offset);
    let result = match std::env::var(env::ARGUMENT) {
        Ok(argument) => {
            // SAFETY: the case counted the offset of a function of this type, in this very binary: guests know a
            // program by its hash.
            let function: fn(&str) -> TestResult = unsafe { std::mem::transmute(address) };
            function(&argument)
        }
        Err(_) => {
            // SAFETY: as above.
            let function: fn() -> TestResult = unsafe { std::mem::transmute(address) };
            function()
        }
    };
    result.or_else(|failure| bail!("{failure:?}"))
}

/// Has the guest know the others by their names.
fn name_others() -> Result<()> {
    let hosts = std::env::var(env::HOSTS).unwrap_or_default();
    let name = std::env::var(env::NAME).unwrap_or_default();
    let text = format!("127.0.0.1 localhost\n127.0.1.1 {name}.uml {name}\n{hosts}\n");
    let path = Path::new("/etc/hosts");
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(path, text).context("cannot write /etc/hosts")
}

/// Gives the guest its name, and its interfaces their addresses.
fn set_up() -> Result<()> {
    // Nobody would answer: a name that no file has is not to cost the time of waiting for that.
    fs::write("/etc/resolv.conf", "").context("cannot write /etc/resolv.conf")?;
    sethostname(std::env::var(env::NAME)?).context("cannot set the host name")?;
    for line in std::env::var(env::INTERFACES).unwrap_or_default().lines() {
        let (interface, addresses) = line.split_once(' ').context("no interface and addresses")?;
        give_addresses(interface, addresses.split(' '))?;
    }
    Ok(())
}

/// Gives an interface its addresses, which come with the lengths of their prefixes.
pub(crate) fn give_addresses(
    interface: &str,
    addresses: impl IntoIterator<Item = impl fmt::Display>,
) -> Result<()> {
    // A kernel without IPv6 has no such file, and takes no such address.
    let allowed = fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "0");
    let mut batch = format!("link set dev {interface} up\n");
    for address in addresses {
        let address = address.to_string();
        let v6 = address.contains(':');
        if !v6 || allowed.is_ok() {
            // Nobody else has it, and who asks first would have to wait.
            let nodad = if v6 { " nodad" } else { "" };
            batch.push_str(&format!("address add {address} dev {interface}{nodad}\n"));
        }
    }
    let mut ip = Command::new("ip");
    let mut ip =
        ip.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("cannot start ip")?;
    ip.stdin.take().context("ip has a standard input")?.write_all(batch.as_bytes())?;
    let status = ip.wait()?;
    ensure!(status.success(), "ip could not configure {interface}: {status}");
    Ok(())
}
