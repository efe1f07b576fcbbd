//! The guide's network block device, between guests.

use std::time::Duration;

use anyhow::Result;
use uml_protocol::wire::ProcessEnd;
use uml_test::{Lab, LabGuest, Network, Release, TestResult, release, skip};

/// What makes a file a device for others: 32 MiB, written to as they do.
const SERVE: &str = "truncate -s 32M /srv/disk
    mkdir -p /etc/nbd-server
    printf '[generic]\\nuser = root\\ngroup = root\\n[disk]\\nexportname = /srv/disk\\nsync = true\\n' > /etc/nbd-server/config
    nbd-server";

fn server(lan: &Network) -> Result<LabGuest> {
    let server = Lab::guest("server").on(lan).boot()?;
    server.run(SERVE)?;
    Ok(server)
}

/// A client with the device at `/dev/nbd0`.
fn client(lan: &Network) -> Result<LabGuest> {
    let client = Lab::guest("client").on(lan).boot()?;
    // The server may not listen yet.
    let connect = "nbd-client -N disk server /dev/nbd0 > /tmp/said 2>&1";
    client.run(&format!(
        "for i in 1 2 3 4 5; do {connect} && exit; sleep 0.2; done; cat /tmp/said; exit 1"
    ))?;
    Ok(client)
}

/// Whether the image's nbd-client can tell this kernel anything: by ioctl(2), which is all that kernels before 4.12
/// know, it waits for ever.
fn is_too_old() -> Result<bool> {
    let old = release()? < Release { major: 4, minor: 12 };
    if old {
        skip("nbd-client needs netlink, which nbd has since 4.12");
    }
    Ok(old)
}

#[test]
fn a_file_system_on_a_device_of_another_guest_is_kept_there() -> TestResult {
    if is_too_old()? {
        return Ok(());
    }
    let lan = Lab::network("lan")?;
    let server = server(&lan)?;
    let client = client(&lan)?;
    client.run("mke2fs -q -t ext4 /dev/nbd0")?;
    client
        .run("mount /dev/nbd0 /mnt && dd if=/dev/urandom of=/mnt/bulk bs=1M count=8 2>/dev/null")?;
    let hash = client.run("sha256sum < /mnt/bulk")?;
    client.run("umount /mnt && nbd-client -d /dev/nbd0")?;
    server.run("e2fsck -fn /srv/disk && mount -o loop /srv/disk /mnt")?;
    assert_eq!(server.run("sha256sum < /mnt/bulk")?, hash);
    Ok(())
}

#[test]
fn a_device_whose_server_is_gone_gives_errors_and_does_not_hang() -> TestResult {
    if is_too_old()? {
        return Ok(());
    }
    let lan = Lab::network("lan")?;
    let server = server(&lan)?;
    let client = client(&lan)?;
    client.run("dd if=/dev/nbd0 of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null")?;
    client.expect_kernel("I/O error, dev nbd0")?;
    server.run("kill $(pidof nbd-server)")?;
    std::thread::sleep(Duration::from_millis(200));
    let read = "dd if=/dev/nbd0 of=/dev/null bs=4k count=1 skip=100 iflag=direct 2>/dev/null";
    assert_eq!(client.try_run(&format!("timeout 30 {read}"))?.end, ProcessEnd::Code(1));
    Ok(())
}
