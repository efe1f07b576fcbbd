//! Disks that fail, are pulled out, or are slow: targets of the device mapper over a disk of a scenario.

use std::time::Instant;

use anyhow::Result;
use uml_protocol::wire::ProcessEnd;
use uml_test::{Lab, LabGuest, TestResult};

const SIZE: u64 = 8 << 20;
const SECTORS: u64 = SIZE / 512;

/// A guest with a mapped disk, `/dev/dm-0`, that goes by this table.
fn mapped(table: &str) -> Result<LabGuest> {
    let guest = Lab::guest("guest").disk(&Lab::disk(SIZE)?).boot()?;
    map(&guest, "create", table)?;
    Ok(guest)
}

fn map(guest: &LabGuest, how: &str, table: &str) -> Result<()> {
    // Nobody waits for udev, which is not there.
    guest.run(&format!("dmsetup {how} disk --noudevrules --noudevsync --table '{table}'"))?;
    Ok(())
}

fn linear() -> String {
    format!("0 {SECTORS} linear /dev/ubdb 0")
}

const WRITE: &str = "dd if=/dev/zero of=/dev/dm-0 bs=4096 count=1 oflag=direct";

#[test]
fn a_disk_fails_where_it_is_told_to() -> TestResult {
    let half = SECTORS / 2;
    let guest = mapped(&format!("0 {half} linear /dev/ubdb 0\n{half} {half} error"))?;
    guest.expect_kernel("Buffer I/O error")?;
    guest.run(WRITE)?;
    let said = guest.try_run(&format!("{WRITE} seek={}", half / 8))?;
    assert!(said.output.contains("Input/output error"), "{}", said.output);
    // Reads in the cache are of whole blocks.
    guest.try_run("dd if=/dev/dm-0 of=/dev/null bs=512 skip=10000 count=1")?;
    Ok(())
}

#[test]
fn a_disk_that_is_pulled_out_is_an_error_to_its_file_system_and_comes_back() -> TestResult {
    let guest = mapped(&linear())?;
    guest.run("mke2fs -q -t ext4 /dev/dm-0")?;
    guest.run("mount -o errors=continue /dev/dm-0 /mnt && echo kept > /mnt/kept && sync")?;
    for said in ["I/O error", "EXT4-fs", "Aborting journal", "JBD2"] {
        guest.expect_kernel(said)?;
    }
    // What is mounted stays open; from now on nothing is behind it.
    guest.run("dmsetup wipe_table disk --noudevrules --noudevsync")?;
    let written = guest.try_run("dd if=/dev/zero of=/mnt/lost bs=4096 count=1 conv=fsync")?;
    assert_ne!(written.end, ProcessEnd::Code(0), "{}", written.output);
    guest.try_run("umount /mnt")?;
    map(&guest, "reload", &linear())?;
    guest.run("dmsetup resume disk --noudevrules --noudevsync")?;
    // The first to flush an old kernel's cache of the disk is told of what failed before.
    guest.run("for i in 1 2; do e2fsck -fy /dev/dm-0; test $? -le 1 && exit; done; exit 1")?;
    guest.run("mount /dev/dm-0 /mnt && grep -qx kept /mnt/kept")?;
    Ok(())
}

#[test]
fn a_disk_is_as_slow_as_it_is_told_to_be() -> TestResult {
    let guest = mapped(&format!("0 {SECTORS} delay /dev/ubdb 0 0 /dev/ubdb 0 300"))?;
    // Reads are as fast as ever, and writes are not.
    guest.run("dd if=/dev/dm-0 of=/dev/null bs=4096 count=1 iflag=direct")?;
    let before = Instant::now();
    guest.run(WRITE)?;
    assert!(before.elapsed().as_millis() >= 300);
    Ok(())
}
