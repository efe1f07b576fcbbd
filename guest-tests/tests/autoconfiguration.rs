//! Kernels that configure their network before init runs, by servers in a guest, and roots on NFS.

use std::time::Duration;

use anyhow::{Context as _, Result};
use guest_tests::nfs;
use uml_test::{Autoconfiguration, Lab, LabGuest, Network, TestResult};

/// A DHCP and BOOTP server that knows one client, and gives it the address that the network has for it.
fn dnsmasq(server: &LabGuest, client: &LabGuest) -> Result<()> {
    let (address, mac) = (client.address(), client.mac());
    let own = server.address();
    server.run(&format!(
        "dnsmasq --port=0 --no-resolv --conf-file=/dev/null --dhcp-leasefile=/run/leases --pid-file=/run/dnsmasq \\
            --dhcp-range={address},static,255.255.255.0 --dhcp-host={mac},{address} \\
            --dhcp-option=option:router,{own} --dhcp-authoritative"
    ))?;
    Ok(())
}

fn client(lan: &Network, how: Autoconfiguration) -> Result<LabGuest> {
    Lab::guest("client").on(lan).autoconfigured(how).make()
}

/// Whether it has the address, the way out where the protocol knows of one, and a kernel that said so.
fn is_configured(client: &LabGuest, way_out: Option<&LabGuest>) -> TestResult {
    let address = client.address();
    client.run(&format!("ip -o -4 address show | grep -qF ' {address}/'"))?;
    if let Some(router) = way_out {
        client.run(&format!("ip route | grep -qF 'default via {} '", router.address()))?;
    }
    let log = client.log()?;
    log.iter().find(|line| line.contains("IP-Config: ")).context("it did not say so")?;
    Ok(())
}

#[test]
fn a_kernel_asks_a_dhcp_server() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = Lab::guest("server").on(&lan).boot()?;
    let client = client(&lan, Autoconfiguration::Dhcp)?;
    dnsmasq(&server, &client)?;
    client.boot()?;
    is_configured(&client, Some(&server))?;
    client.run("ping -c 1 -W 20 server")?;
    Ok(())
}

#[test]
fn a_kernel_asks_a_bootp_server() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = Lab::guest("server").on(&lan).boot()?;
    let client = client(&lan, Autoconfiguration::Bootp)?;
    dnsmasq(&server, &client)?;
    client.boot()?;
    is_configured(&client, Some(&server))
}

#[test]
fn a_kernel_asks_a_rarp_server() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = Lab::guest("server").on(&lan).boot()?;
    let client = client(&lan, Autoconfiguration::Rarp)?;
    server.run(&format!("echo '{} {}' > /etc/ethers", client.mac(), client.address()))?;
    let own = server.address();
    server.run(&format!("rarpd -e $(ip -o -4 address show to {own} | cut -d' ' -f2)"))?;
    client.boot()?;
    is_configured(&client, None)
}

#[test]
fn a_server_that_comes_late_is_asked_again() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = Lab::guest("server").on(&lan).boot()?;
    let client = client(&lan, Autoconfiguration::Dhcp)?;
    std::thread::scope(|scope| -> TestResult {
        let boots = scope.spawn(|| client.boot());
        // Its first question finds nobody; the next comes seconds later.
        std::thread::sleep(Duration::from_millis(500));
        dnsmasq(&server, &client)?;
        boots.join().expect("it does not panic")?;
        Ok(())
    })?;
    is_configured(&client, Some(&server))
}

fn its_root_is_on_nfs() -> TestResult {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let root = mounts.lines().find(|line| line.contains(" / nfs "));
    root.with_context(|| format!("no root on NFS in {mounts}"))?;
    std::fs::write("/root/by-its-client", "written")?;
    Ok(())
}

#[test]
fn a_guest_lives_on_the_root_that_another_exports() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = Lab::guest("server").on(&lan).boot()?;
    // What is mounted below its root is not exported with it: the client has its own /proc, /dev and /run.
    nfs::start(&server, "/", "rw,no_root_squash")?;
    // A kernel that mounts its root does not try again where an old server refuses the first mount.
    nfs::mount(&server, "server", "/", "vers=3,proto=tcp,nolock")?;
    server.run("umount /mnt")?;
    let client = Lab::guest("client").on(&lan).root_on_nfs(&server, "/").boot()?;
    client.call(its_root_is_on_nfs)?;
    assert_eq!(server.run("cat /root/by-its-client")?, "written");
    client.run("dd if=/dev/urandom of=/root/bulk bs=1M count=8 conv=fsync 2>/dev/null")?;
    let hash = |guest: &LabGuest| guest.run("sha256sum < /root/bulk");
    assert_eq!(hash(&client)?, hash(&server)?);
    client.power_off()?;
    client.boot()?;
    client.call(its_root_is_on_nfs).map_err(Into::into)
}
