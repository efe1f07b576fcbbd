//! The control link, and a link that the guest makes itself.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::libc;
use sha2::{Digest as _, Sha256};
use uml_protocol::{bulk, interface};
use uml_test::{HostPeer, TestResult, needs, parameter, run};

/// How much is sent each way.
const BULK: usize = 64 << 20;

#[test]
fn the_address_is_the_one_of_the_command_line() -> TestResult {
    let ip = parameter("ip")?.context("no ip= on the command line")?;
    let fields: Vec<&str> = ip.split(':').collect();
    let (address, interface) = (fields[0], fields[5]);
    // Linux 3.0 does not know how today's ip asks for one interface, so ask for all.
    let shown = run("ip -o -4 address show")?;
    let found = shown
        .lines()
        .any(|line| line.contains(interface) && line.contains(&format!("inet {address}/")));
    assert!(found, "{shown}");
    Ok(())
}

#[test]
fn the_host_end_answers_pings() -> TestResult {
    let peer = HostPeer::find()?;
    run(&format!("ping -c 3 -i 0.2 -W 5 {}", peer.address))?;
    Ok(())
}

/// For a run with `--online` on a host that has such a server beyond its router, as the project's own tests make one.
#[test]
#[ignore = "needs a way out, and a server there"]
fn a_server_beyond_the_host_is_reached() -> TestResult {
    let place = ([10, 8, 0, 2], 80).into();
    let server = TcpStream::connect_timeout(&place, Duration::from_secs(20));
    let mut server = server.context("nobody is there")?;
    server.write_all(b"hello\n")?;
    let mut said = String::new();
    server.read_to_string(&mut said)?;
    assert_eq!(said, "beyond\n");
    Ok(())
}

#[test]
fn bulk_to_the_host_arrives_whole() -> TestResult {
    let mut sent = Sha256::new();
    let blocks = bulk::blocks(1).take(BULK / bulk::BLOCK).inspect(|block| sent.update(block));
    let arrived = HostPeer::find()?.sink(BULK, blocks)?;
    let sent: String = sent.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(arrived, sent);
    Ok(())
}

#[test]
fn the_host_echoes_what_it_is_sent() -> TestResult {
    let mut stream = HostPeer::find()?.echo()?;
    let mut echoed = [0; 5];
    for word in [b"first", b"again"] {
        stream.write_all(word)?;
        stream.read_exact(&mut echoed)?;
        assert_eq!(&echoed, word);
    }
    Ok(())
}

#[test]
fn bulk_from_the_host_arrives_whole() -> TestResult {
    let mut stream = HostPeer::find()?.source(BULK, 2)?;
    let mut block = vec![0; bulk::BLOCK];
    for (number, sent) in bulk::blocks(2).take(BULK / bulk::BLOCK).enumerate() {
        stream.read_exact(&mut block)?;
        assert!(block == sent, "block {number} arrived as another");
    }
    assert_eq!(stream.read(&mut block)?, 0, "more arrived than was sent");
    Ok(())
}

#[test]
fn a_tap_of_the_guest_passes_a_frame() -> TestResult {
    if !fs::exists("/dev/net/tun")? {
        fs::create_dir_all("/dev/net")?;
        run("mknod /dev/net/tun c 10 200")?;
    }
    let mut tap = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let mut request = interface::request("test0");
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request is a whole `ifreq` and outlives the call.
    let done = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF as _, &request) };
    Errno::result(done)?;
    run("ip address add 192.0.2.1/24 dev test0")?;
    run("ip link set test0 up")?;
    // A datagram to a neighbour whose hardware address is known leaves as one frame.
    run("ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev test0")?;
    UdpSocket::bind("192.0.2.1:0")?.send_to(b"through the tap", "192.0.2.2:9")?;
    let mut frame = [0; 2048];
    loop {
        match tap.read(&mut frame) {
            Ok(count) if frame[..count].ends_with(b"through the tap") => {
                assert_eq!(frame[..6], [2, 0, 0, 0, 0, 2], "the frame's destination");
                return Ok(());
            }
            // The kernel sends frames of its own, for example to find routers.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[test]
fn interfaces_that_come_later_speak_version_6() -> TestResult {
    for interface in ["all", "default", "lo"] {
        let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        assert_eq!(std::fs::read_to_string(path)?, "0\n", "{interface}");
    }
    if needs("NET_NS")? {
        let script = "ip link set dev lo up && grep -q ' lo$' /proc/self/net/if_inet6";
        assert!(Command::new("unshare").args(["-n", "sh", "-c", script]).status()?.success());
    }
    Ok(())
}
