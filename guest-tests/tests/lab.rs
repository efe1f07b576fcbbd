//! Scenarios: guests beside the case's own, and networks between them.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use uml_protocol::wire::ProcessEnd;
use uml_test::{Lab, LabGuest, Shape, TestResult, release};

/// How often a power cut is tried.
const ROUNDS: u64 = 4;

#[test]
fn guests_reach_each_other_by_name_while_their_cables_are_plugged_in() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = Lab::guest("server").on(&lan).boot()?;
    let client = Lab::guest("client").on(&lan).boot()?;
    client.run("ping -c 1 -W 20 server")?;
    server.run("ping -c 1 -W 20 client")?;
    lan.unplug("server")?;
    assert!(client.try_run("ping -c 1 -W 1 server")?.end == ProcessEnd::Code(1));
    lan.plug("server")?;
    client.run("ping -c 1 -W 20 server")?;
    Ok(())
}

#[test]
fn a_guest_calls_functions_of_this_file_and_each_has_a_kernel_of_its_own() -> TestResult {
    let other = Lab::guest("other").boot()?;
    other.call(|| Ok(fs::write("/root/by-function", format!("{:?}", release()?))?))?;
    other.call_with(is_there, "/root/by-function")?;
    assert!(fs::metadata("/root/by-function").is_err(), "it was written here");
    let error = other.call_with(is_there, "/nowhere").unwrap_err().to_string();
    assert!(error.contains("exit code 1") && error.contains("/nowhere"), "{error}");
    let error = other.call(|| panic!("with a reason")).unwrap_err().to_string();
    assert!(error.contains("exit code 101") && error.contains("with a reason"), "{error}");
    assert!(other.run("hostname")?.trim() == "other");
    Ok(())
}

#[test]
fn files_are_written_and_read_in_another_guest() -> TestResult {
    let other = Lab::guest("other").boot()?;
    let contents: Vec<u8> = (0..700_000_u32).map(|number| (number % 251) as u8).collect();
    other.write_file("/root/a file", &contents)?;
    assert!(other.read_file("/root/a file")? == contents);
    other.write_file("/root/a file", b"")?;
    assert_eq!(other.read_file("/root/a file")?, b"");
    let error = other.read_file("/nowhere").unwrap_err().to_string();
    assert!(error.contains("/nowhere"), "{error}");
    Ok(())
}

fn is_there(path: &str) -> TestResult {
    fs::metadata(path).map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
    Ok(())
}

#[test]
fn a_guest_that_lost_its_power_has_what_it_had_synced() -> TestResult {
    let guest = Lab::guest("guest").boot()?;
    guest.run("echo kept > /root/kept && sync && echo lost > /root/lost")?;
    guest.kill()?;
    assert!(guest.run("true").is_err(), "it is off");
    guest.boot()?;
    assert!(guest.run("cat /root/kept")?.trim() == "kept");
    guest.power_off()?;
    guest.boot()?;
    let starts = guest.log()?.iter().filter(|line| line.contains("Linux version")).count();
    assert!(starts == 3, "{starts}");
    Ok(())
}

#[test]
fn a_guest_may_die_if_that_was_declared() -> TestResult {
    let guest = Lab::guest("guest").boot()?;
    guest.expect_death("Kernel panic - not syncing")?;
    let error = guest.run("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger");
    assert!(error.unwrap_err().to_string().contains("panic"));
    Ok(())
}

#[test]
fn a_network_loses_and_delays_what_it_is_told_to() -> TestResult {
    let lan = Lab::network("lan")?;
    let one = Lab::guest("one").on(&lan).boot()?;
    let _other = Lab::guest("other").on(&lan).boot()?;
    one.run("ping -c 1 -W 20 other")?;
    lan.shape(Shape { delay: Duration::from_millis(150), ..Shape::default() })?;
    let said = one.run("ping -c 1 -W 20 other")?;
    let times = said.split("time=").nth(1).and_then(|rest| rest.split(' ').next());
    let millis: f64 = times.unwrap_or_default().parse()?;
    // There and back.
    assert!(millis >= 300.0, "{said}");
    lan.shape(Shape { loss: 1000, ..Shape::default() })?;
    assert_eq!(one.try_run("ping -c 1 -W 1 other")?.end, ProcessEnd::Code(1));
    lan.shape(Shape::default())?;
    one.run("ping -c 1 -W 20 other")?;
    Ok(())
}

#[test]
fn a_disk_is_handed_from_guest_to_guest() -> TestResult {
    let (data, other) = (Lab::disk(8 << 20)?, Lab::disk(4 << 20)?);
    let writer = Lab::guest("writer").disk(&data).disk(&other).boot()?;
    writer.run("mke2fs -q -t ext4 /dev/ubdb")?;
    writer.run("mount /dev/ubdb /mnt && echo kept > /mnt/kept && umount /mnt")?;
    assert_eq!(writer.run("cat /sys/block/ubdb/size /sys/block/ubdc/size")?, "16384\n8192\n");
    writer.power_off()?;
    let reader = Lab::guest("reader").read_only_disk(&data).boot()?;
    reader.run("mount -o ro /dev/ubdb /mnt && grep -qx kept /mnt/kept")?;
    assert_ne!(
        reader.try_run("dd if=/dev/zero of=/dev/ubdb count=1 oflag=direct")?.end,
        ProcessEnd::Code(0)
    );
    Ok(())
}

/// Writes numbered files, and says of each that it is on the disk.
fn write_for_ever() -> TestResult {
    for number in 0.. {
        let path = format!("/mnt/{number}");
        let mut file = File::create(&path)?;
        file.write_all(format!("{number}").repeat(1000).as_bytes())?;
        file.sync_all()?;
        File::open("/mnt")?.sync_all()?;
        fs::write("/dev/kmsg", format!("synced {number}\n"))?;
    }
    Ok(())
}

/// Looks whether all files up to that number are whole.
fn are_whole(last: &str) -> TestResult {
    for number in 0..=last.parse()? {
        let text = fs::read_to_string(format!("/mnt/{number}"))?;
        assert_eq!(text, format!("{number}").repeat(1000));
    }
    Ok(())
}

#[test]
fn a_file_system_has_what_was_synced_before_each_power_cut() -> TestResult {
    let data = Lab::disk(64 << 20)?;
    let guest = Lab::guest("guest").disk(&data).boot()?;
    guest.run("mke2fs -q -t ext4 /dev/ubdb")?;
    for round in 0..ROUNDS {
        // The journal is recovered here.
        guest.run("mount /dev/ubdb /mnt && rm -rf /mnt/*")?;
        let before = guest.log()?.len();
        let synced = |guest: &LabGuest| -> anyhow::Result<Option<String>> {
            let log = guest.log()?;
            let said = log[before..].iter().rev().find_map(|line| line.split_once("synced "));
            Ok(said.map(|(_, number)| number.trim().to_owned()))
        };
        std::thread::scope(|scope| -> TestResult {
            let writes = scope.spawn(|| guest.call(write_for_ever));
            std::thread::sleep(Duration::from_millis(100 + 37 * (round % 7)));
            guest.kill()?;
            assert!(writes.join().expect("it does not panic").is_err());
            Ok(())
        })?;
        let last = synced(&guest)?;
        guest.boot()?;
        guest.run("e2fsck -fn /dev/ubdb > /tmp/said; test $? -le 4; mount /dev/ubdb /mnt")?;
        if let Some(last) = last {
            guest.call_with(are_whole, &last)?;
        }
        guest.run("umount /mnt && e2fsck -fn /dev/ubdb")?;
    }
    Ok(())
}

#[test]
fn the_cases_own_guest_joins_a_network() -> TestResult {
    let lan = Lab::network("lan")?;
    let other = Lab::guest("other").on(&lan).boot()?;
    let address = lan.join()?;
    uml_test::run(&format!("ping -c 1 -W 20 {}", other.address()))?;
    other.run("ping -c 1 -W 20 case")?;
    assert!(other.run("getent hosts case")?.starts_with(&address.to_string()));
    Ok(())
}
