//! Guests on networks of the host. These need a kernel and an image, so that they are ignored here; `cargo xtask ci` runs
//! them. `UML_SHELL_ARGS` asks for another kernel for one of two guests than the default one.

use std::process::{Command, Output};

use super::full_guest::more_arguments;
use super::support::eventually;
use super::world::{BEYOND, HOST, Namespace, ROUTER, World};

/// Two guests on a network, which are gone when this is dropped.
struct Guests<'a> {
    world: &'a World,
    names: [String; 2],
}

/// What serves one line to whoever connects, in a guest or elsewhere.
fn serves(port: u16, line: &str) -> String {
    format!(
        "perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => {port}, Listen => 5, ReuseAddr => 1) or die; \
         while ($c = $s->accept) {{ print $c \"{line}\\n\"; close $c }}' >/dev/null 2>&1 &"
    )
}

/// What asks for it.
fn asks(address: &str, port: u16) -> String {
    format!("timeout 5 bash -c 'exec 3<>/dev/tcp/{address}/{port} && head -n1 <&3'")
}

impl<'a> Guests<'a> {
    fn boot(world: &'a World, tag: &str, args: [&[&str]; 2]) -> Self {
        let name = |which: &str| format!("{tag}-{which}-{}", std::process::id());
        let guests = Self { world, names: [name("one"), name("two")] };
        let boot = |number: usize, more: &[String]| {
            let mut up = world.xtask(&["up", &guests.names[number], "--net", "lab"]);
            let output = up.args(args[number]).args(more).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        boot(0, &[]);
        boot(1, &more_arguments());
        guests
    }

    fn run(&self, number: usize, line: &str) -> Output {
        self.world.xtask(&["exec", &self.names[number], "bash", "-c", line]).output().unwrap()
    }

    fn says(&self, number: usize, line: &str) -> String {
        let output = self.run(number, line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until a server in a guest answers.
    fn serve(&self, number: usize, line: &str) {
        self.says(number, &serves(80, line));
        eventually("a server", || self.run(number, &asks("127.0.0.1", 80)).status.success());
    }
}

impl Drop for Guests<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = self.world.xtask(&["down", "--now", name]).output();
        }
    }
}

fn ask(from: &Namespace, address: &str, port: u16) -> Output {
    let mut command: Command = from.command("bash");
    command.args(["-c", &asks(address, port)]).output().unwrap()
}

fn hears(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim()
}

#[test]
#[ignore = "needs a kernel and an image"]
fn on_a_network_of_its_own_only_what_is_published_is_reached() {
    let world = World::new();
    world.does(&["up", "lab", "--taps", "2", "--publish", "8080:192.168.2.2:80"]);
    world.beyond.sh(&serves(80, "beyond"));
    eventually("a server", || ask(&world.beyond, "127.0.0.1", 80).status.success());
    let guests = Guests::boot(&world, "nat", [&[], &[]]);
    let listed = String::from_utf8(world.xtask(&["ps"]).output().unwrap().stdout).unwrap();
    assert!(
        listed.contains("192.168.2.2 on lab") && listed.contains("192.168.2.3 on lab"),
        "{listed}"
    );
    guests.serve(0, "the guest");
    // Each reaches the other, the host, the router and what is behind it.
    assert_eq!(guests.says(1, &asks("192.168.2.2", 80)), "the guest\n");
    for (number, other) in [(0, "192.168.2.3"), (1, "192.168.2.2")] {
        for place in [other, "192.168.2.1", ROUTER, BEYOND] {
            guests.says(number, &format!("ping -qc1 -W10 {place}"));
        }
        assert_eq!(guests.says(number, &asks(BEYOND, 80)), "beyond\n");
    }
    // From outside there is what was published, and nothing else, even for who knows the way.
    assert_eq!(hears(&ask(&world.beyond, HOST, 8080)), "the guest");
    world.router.sh(&format!("ip route add 192.168.2.0/24 via {HOST}"));
    assert!(!ask(&world.beyond, "192.168.2.2", 80).status.success());
    let pinged = world.beyond.command("ping").args(["-qc1", "-W2", "192.168.2.3"]).output();
    assert!(!pinged.unwrap().status.success());
    // There is no third place.
    let third = world.xtask(&["up", "third", "--net", "lab"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&third.stderr)
            .contains("all 2 taps of the network `lab` are taken")
    );
}

#[test]
#[ignore = "needs a kernel and an image"]
fn on_a_bridge_a_guest_is_a_machine_as_others_are() {
    let world = World::new();
    world.does(&["up", "lab", "--mode", "bridge", "--uplink", "eth9", "--yes"]);
    let mac = "02:00:00:00:77:01";
    let first = ["--address", "10.9.0.11/24", "--mac", mac, "--link", "socket"];
    let guests = Guests::boot(&world, "bridge", [&first, &["--address", "10.9.0.12/24"]]);
    guests.serve(0, "the guest");
    for (number, other) in [(0, "10.9.0.12"), (1, "10.9.0.11")] {
        for place in [other, HOST, ROUTER, BEYOND] {
            guests.says(number, &format!("ping -qc1 -W10 {place}"));
        }
    }
    assert_eq!(hears(&ask(&world.beyond, "10.9.0.11", 80)), "the guest");
    assert!(world.router.sh("ip neighbour show 10.9.0.11").contains(mac));
    // A megabyte each way, in frames of any length.
    let many = "head -c 1000000 /dev/zero | tr '\\0' x";
    guests.says(1, &format!("{many} > /tmp/many; perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => 81, \
        Listen => 5); while ($c = $s->accept) {{ open F, \"/tmp/many\"; print $c $_ while <F>; close $c }}' >/dev/null 2>&1 &"));
    let counts =
        |from: &str| format!("timeout 60 bash -c 'exec 3<>/dev/tcp/{from}/81 && wc -c <&3'");
    eventually("a server", || guests.run(1, &counts("127.0.0.1")).status.success());
    assert_eq!(guests.says(0, &counts("10.9.0.12")), "1000000\n");
    assert_eq!(world.beyond.sh(&counts("10.9.0.12")), "1000000\n");
}
