//! The guide's NFS, between guests: its versions, its locks, and what becomes of a client whose server or whose cable
//! goes away.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::thread;

use anyhow::{Context as _, Result};
use guest_tests::nfs::{self, start};
use uml_protocol::bulk;
use uml_protocol::wire::ProcessEnd;
use uml_test::{Lab, LabGuest, Network, TestResult};

/// A server of /srv, for everybody in the network.
fn server(lan: &Network, options: &str) -> Result<LabGuest> {
    nfs::planned_server(Lab::guest("server").on(lan), options)
}

fn client(lan: &Network, name: &str) -> Result<LabGuest> {
    nfs::planned_client(Lab::guest(name).on(lan))
}

/// Mounts the export on /mnt.
fn mount(client: &LabGuest, version: &str) -> Result<()> {
    nfs::mount(client, "server", "/srv", &format!("vers={version},proto=tcp,timeo=20,retrans=2"))
}

/// The versions that both ends have.
fn versions(server: &LabGuest, client: &LabGuest) -> Result<Vec<&'static str>> {
    let is_old =
        |guest: &LabGuest| -> Result<bool> { Ok(guest.run("uname -r")?.starts_with("3.0")) };
    Ok(match (is_old(server)?, is_old(client)?) {
        // `vers=4.0` is no option of 3.0's.
        (_, true) => vec!["3", "4"],
        // The 4.1 of 3.0's server is experimental: clients of today take it where they may, and read errors from it.
        (true, false) => vec!["3", "4.0"],
        (false, false) => vec!["3", "4.0", "4.1", "4.2"],
    })
}

/// Writes and reads, renames, and reads what is unlinked.
fn use_it(server: &LabGuest, client: &LabGuest) -> Result<()> {
    client.run("dd if=/dev/urandom of=/mnt/bulk bs=1M count=16 conv=fsync 2>/dev/null")?;
    let hash = |guest: &LabGuest, path: &str| guest.run(&format!("sha256sum < {path}"));
    assert_eq!(hash(client, "/mnt/bulk")?, hash(server, "/srv/bulk")?);
    client.run("mv /mnt/bulk /mnt/renamed")?;
    assert_eq!(server.try_run("ls /srv/bulk")?.end, ProcessEnd::Code(2));
    client.run("exec 3< /mnt/renamed && rm /mnt/renamed && cat <&3 | wc -c | grep -qx 16777216")?;
    Ok(())
}

#[test]
fn each_version_keeps_what_is_written() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = server(&lan, "rw,no_root_squash")?;
    let client = client(&lan, "client")?;
    for version in versions(&server, &client)? {
        mount(&client, version).with_context(|| format!("version {version}"))?;
        use_it(&server, &client).with_context(|| format!("version {version}"))?;
        client.run("umount /mnt")?;
    }
    Ok(())
}

/// The blocks of a file of 1 GiB, each of which says which it is.
fn gibibyte() -> impl Iterator<Item = Vec<u8>> {
    bulk::blocks(1).take((1 << 30) / bulk::BLOCK)
}

fn writes_a_gibibyte(path: &str) -> TestResult {
    let mut file = File::create(path)?;
    gibibyte().try_for_each(|block| file.write_all(&block))?;
    file.sync_all()?;
    Ok(())
}

fn has_a_gibibyte(path: &str) -> TestResult {
    let (mut file, mut block) = (File::open(path)?, vec![0; bulk::BLOCK]);
    for (number, written) in gibibyte().enumerate() {
        file.read_exact(&mut block)?;
        assert!(block == written, "block {number} of {path} is another");
    }
    assert_eq!(file.read(&mut block)?, 0);
    Ok(())
}

#[test]
#[ignore = "it takes half a minute on a slow machine"]
fn a_gibibyte_arrives_whole() -> TestResult {
    let lan = Lab::network("lan")?;
    let disk = Lab::disk(1200 << 20)?;
    let server = Lab::guest("server").on(&lan).disk(&disk).boot()?;
    server.run(
        "mke2fs -q -t ext4 -m 0 /dev/ubdb
        mkdir -p /srv && mount /dev/ubdb /srv && chmod 777 /srv",
    )?;
    nfs::start(&server, "/srv", "rw,no_root_squash")?;
    let client = client(&lan, "client")?;
    mount(&client, "3")?;
    client.call_with(writes_a_gibibyte, "/mnt/bulk")?;
    server.call_with(has_a_gibibyte, "/srv/bulk")?;
    // What is read comes from the server.
    client.run("echo 3 > /proc/sys/vm/drop_caches")?;
    client.call_with(has_a_gibibyte, "/mnt/bulk")?;
    Ok(())
}

/// A table in the report: a row for each kernel of clients, a column for each kernel of the server, which is the case's
/// own.
mod across {
    use super::*;

    #[test]
    fn a_client_of_linux_3_0() -> TestResult {
        uses_it("3.0")
    }

    #[test]
    fn a_client_of_linux_6_12() -> TestResult {
        uses_it("6.12")
    }

    #[test]
    fn a_client_of_linux_7_3() -> TestResult {
        uses_it("7.3")
    }

    fn uses_it(kernel: &str) -> TestResult {
        let kernels = Lab::kernels();
        if kernels.len() < 2 || !kernels.iter().any(|other| other == kernel) {
            uml_test::skip(&format!("this run has no kernel {kernel} beside another"));
            return Ok(());
        }
        let lan = Lab::network("lan")?;
        let server = server(&lan, "rw,no_root_squash")?;
        let client = nfs::planned_client(Lab::guest("client").kernel(kernel).on(&lan))?;
        for version in versions(&server, &client)? {
            mount(&client, version)
                .and_then(|()| use_it(&server, &client))
                .and_then(|()| client.run("umount /mnt"))
                .with_context(|| format!("version {version}"))?;
            println!("version {version}: ok");
        }
        Ok(())
    }
}

#[test]
fn a_hard_mount_outlives_a_power_cut_of_its_server() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = server(&lan, "rw,no_root_squash")?;
    let client = client(&lan, "client")?;
    mount(&client, "3")?;
    client.run("dd if=/dev/urandom of=/tmp/bulk bs=1M count=24 2>/dev/null")?;
    thread::scope(|scope| -> TestResult {
        let copy = scope.spawn(|| client.run("dd if=/tmp/bulk of=/mnt/bulk bs=64k conv=fsync"));
        // In the middle of it, whenever that is.
        while server.run("stat -c %s /srv/bulk 2>/dev/null || echo 0")?.trim() == "0" {}
        server.kill()?;
        server.boot()?;
        start(&server, "/srv", "rw,no_root_squash")?;
        copy.join().expect("the copy does not panic")?;
        Ok(())
    })?;
    let hash = client.run("sha256sum < /tmp/bulk")?;
    assert_eq!(server.run("sha256sum < /srv/bulk")?, hash);
    Ok(())
}

#[test]
fn a_hard_mount_waits_for_a_cable_that_is_out() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = server(&lan, "rw,no_root_squash")?;
    let client = client(&lan, "client")?;
    mount(&client, "3")?;
    lan.unplug("client")?;
    client.run("echo kept > /mnt/kept & sleep 1")?;
    assert_eq!(server.try_run("cat /srv/kept")?.end, ProcessEnd::Code(1));
    lan.plug("client")?;
    client.run(
        "cat /mnt/kept > /dev/null; sync; until grep -qx kept /mnt/kept; do sleep 0.1; done",
    )?;
    assert_eq!(server.run("cat /srv/kept")?.trim(), "kept");
    Ok(())
}

#[test]
fn an_export_is_read_only_or_squashes_root_as_it_says() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = server(&lan, "ro")?;
    let client = client(&lan, "client")?;
    mount(&client, "3")?;
    let said = client.try_run("touch /mnt/x")?.output;
    assert!(said.contains("Read-only file system"), "{said}");
    client.run("umount /mnt")?;
    server.run("exportfs -i -o rw,root_squash,insecure,no_subtree_check '*:/srv'")?;
    mount(&client, "3")?;
    client.run("touch /mnt/x")?;
    assert_eq!(server.run("stat -c %U /srv/x")?.trim(), "nobody");
    Ok(())
}

/// Holds a lock until it is told to let go.
const HOLD: &str = "(flock /mnt/locked sh -c \
    'touch /tmp/held; while ! test -e /tmp/free; do sleep 0.05; done'; rm /tmp/held) &
    until test -e /tmp/held; do sleep 0.05; done";

#[test]
fn two_clients_see_each_others_locks() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = server(&lan, "rw,no_root_squash")?;
    let one = client(&lan, "one")?;
    let other = client(&lan, "other")?;
    for version in ["3", "4"] {
        for client in [&one, &other] {
            mount(client, version)?;
        }
        server.run("touch /srv/locked")?;
        // It waits for the end of the server's time of grace, and then holds the lock in the background.
        one.run(HOLD)?;
        let refused = other.try_run("flock --nonblock /mnt/locked true")?;
        assert_eq!(refused.end, ProcessEnd::Code(1), "{}", refused.output);
        // Who waits for a lock of version 3 and misses that it is free looks again after 30 s only.
        one.run("touch /tmp/free; while test -e /tmp/held; do sleep 0.05; done; rm /tmp/free")?;
        other.run("flock --nonblock /mnt/locked true")?;
        for client in [&one, &other] {
            client.run("umount /mnt")?;
        }
    }
    Ok(())
}

#[test]
fn an_acl_is_told_over_version_3() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = server(&lan, "rw,no_root_squash")?;
    let client = client(&lan, "client")?;
    mount(&client, "3")?;
    client.run("touch /mnt/file && chmod 600 /mnt/file && setfacl -m u:daemon:r /mnt/file")?;
    let acl = server.run("getfacl --omit-header /srv/file")?;
    assert!(acl.contains("user:daemon:r--"), "{acl}");
    Ok(())
}

#[test]
fn an_automounter_mounts_what_is_asked_for_and_lets_go_of_it() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = server(&lan, "rw,no_root_squash")?;
    server.run("echo there > /srv/file")?;
    let client = client(&lan, "client")?;
    let map = "echo '/net /etc/auto.test --timeout=2 --negative-timeout=1' > /etc/auto.master
        echo 'srv -fstype=nfs,vers=3,proto=tcp server:/srv' > /etc/auto.test
        automount";
    client.run(map)?;
    // An old server refuses the first mount.
    client.run("for i in 1 2 3; do grep -qx there /net/srv/file && exit; sleep 3; done; exit 1")?;
    client.run("grep -q ' /net/srv nfs ' /proc/mounts")?;
    client.run("while grep -q ' /net/srv nfs ' /proc/mounts; do sleep 0.2; done")?;
    client.run("grep -qx there /net/srv/file")?;
    Ok(())
}
