//! How fast networks of guests are. Each case writes `throughput WHAT BYTES SECONDS`, and none judges that.

use std::fs;
use std::io::{ErrorKind, Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use guest_tests::nfs;
use uml_protocol::bulk;
use uml_test::{HostPeer, Lab, LabGuest, TestResult};

/// How much goes over a plain connection.
const BULK: usize = 256 << 20;

/// How large a file is: it fits twice into a guest's memory.
const FILE: usize = 64 << 20;

const PORT: u16 = 7777;

/// Where a guest writes down how long something took.
const TOOK: &str = "/run/took";

/// Reads to the end, much at once: a guest's system calls are what a small piece takes its time for.
fn drain(from: &mut impl Read) -> std::io::Result<u64> {
    let (mut buffer, mut all) = (vec![0; 256 << 10], 0);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(all),
            count => all += count as u64,
        }
    }
}

fn say(what: &str, bytes: usize, seconds: f64) {
    println!("throughput {what} {bytes} {seconds}");
}

#[test]
#[ignore = "a measurement"]
fn from_a_guest_to_the_host() -> TestResult {
    let blocks = bulk::blocks(1).take(BULK / bulk::BLOCK);
    let began = Instant::now();
    let arrived = HostPeer::find()?.discard(BULK, blocks)?;
    say("guest-to-host", arrived, began.elapsed().as_secs_f64());
    Ok(())
}

#[test]
#[ignore = "a measurement"]
fn from_the_host_to_a_guest() -> TestResult {
    let began = Instant::now();
    let arrived = drain(&mut HostPeer::find()?.source(BULK, 1)?)?;
    say("host-to-guest", usize::try_from(arrived)?, began.elapsed().as_secs_f64());
    Ok(())
}

/// Takes one connection to its end, and says how much came.
fn takes() -> TestResult {
    let (mut stream, _) = TcpListener::bind(("0.0.0.0", PORT))?.accept()?;
    let count = drain(&mut stream)?;
    stream.write_all(&count.to_le_bytes())?;
    Ok(())
}

/// Sends that much to a guest, once it listens.
fn sends(address: &str) -> TestResult {
    let mut stream = loop {
        match TcpStream::connect((address, PORT)) {
            Ok(stream) => break stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error.into()),
        }
    };
    let began = Instant::now();
    for block in bulk::blocks(1).take(BULK / bulk::BLOCK) {
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    fs::write(TOOK, began.elapsed().as_secs_f64().to_string())?;
    assert_eq!(u64::from_le_bytes(count), BULK as u64);
    Ok(())
}

fn took(guest: &LabGuest) -> Result<f64> {
    Ok(guest.run(&format!("cat {TOOK}"))?.trim().parse()?)
}

#[test]
#[ignore = "a measurement"]
fn from_guest_to_guest() -> TestResult {
    let lan = Lab::network("lan")?;
    let taker = Lab::guest("taker").on(&lan).boot()?;
    let sender = Lab::guest("sender").on(&lan).boot()?;
    thread::scope(|scope| -> TestResult {
        let takes = scope.spawn(|| taker.call(takes));
        sender.call_with(sends, &taker.address().to_string())?;
        takes.join().expect("it does not panic")?;
        Ok(())
    })?;
    say("guest-to-guest", BULK, took(&sender)?);
    Ok(())
}

/// Writes or reads the file of the export, and writes down how long that took.
fn moves_the_file(way: &str) -> TestResult {
    let began = Instant::now();
    let moved = match way {
        "write" => {
            let mut file = fs::File::create("/mnt/file")?;
            for block in bulk::blocks(1).take(FILE / bulk::BLOCK) {
                file.write_all(&block)?;
            }
            file.sync_all()?;
            FILE as u64
        }
        _ => drain(&mut fs::File::open("/mnt/file")?)?,
    };
    fs::write(TOOK, began.elapsed().as_secs_f64().to_string())?;
    assert_eq!(moved, FILE as u64);
    Ok(())
}

#[test]
#[ignore = "a measurement"]
fn over_nfs_from_guest_to_guest() -> TestResult {
    let lan = Lab::network("lan")?;
    let server = nfs::planned_server(Lab::guest("server").on(&lan), "rw,no_root_squash,async")?;
    let client = nfs::planned_client(Lab::guest("client").on(&lan))?;
    // What a disk takes is no matter here.
    server.run("mount -t tmpfs -o size=100m,mode=777 none /srv")?;
    server.run("exportfs -i -o rw,no_root_squash,insecure,no_subtree_check,fsid=1 '*:/srv'")?;
    nfs::mount(&client, "server", "/srv", "vers=3,proto=tcp")?;
    for way in ["write", "read"] {
        client.call_with(moves_the_file, way)?;
        say(&format!("nfs-{way}"), FILE, took(&client)?);
        // What is read comes from the server.
        client.run("echo 3 > /proc/sys/vm/drop_caches")?;
    }
    Ok(())
}
