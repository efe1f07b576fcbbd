//! Guests on networks of the host. These need a kernel and an image, so that they are ignored here; `cargo xtask ci` runs
//! them. `UML_SHELL_ARGS` asks for another kernel for one of two guests than the default one.

use std::process::{Child, Command, Output};

use super::full_guest::more_arguments;
use super::support::eventually;
use super::world::{BEYOND, HOST, Namespace, ROUTER, World};

/// Two guests on a network, which are gone when this is dropped.
struct Guests<'a> {
    world: &'a World,
    names: [String; 2],
}

/// A program that gives `text` to whoever connects and says something first: passt(1) of Debian 12 tells the guest of a
/// connection with the first that the other side says.
fn server(port: u16, text: &str) -> String {
    format!(
        "$s = IO::Socket::INET->new(LocalPort => {port}, Listen => 5, ReuseAddr => 1) or die; \
         while ($c = $s->accept) {{ <$c>; print $c {text}; close $c }}"
    )
}

/// One that gives a line.
fn line_server(port: u16, line: &str) -> String {
    server(port, &format!("\"{line}\\n\""))
}

/// What asks for it, and does this with the answer.
fn asks(address: &str, port: u16) -> String {
    asks_and(address, port, "head -n1")
}

fn asks_and(address: &str, port: u16, does: &str) -> String {
    format!("timeout 20 bash -c 'exec 3<>/dev/tcp/{address}/{port} && echo >&3 && {does} <&3'")
}

impl<'a> Guests<'a> {
    fn boot(world: &'a World, tag: &str, args: [&[&str]; 2]) -> Self {
        Self::boot_by(world, tag, args.map(|args| [&["--net", "lab"], args].concat()))
    }

    fn boot_by(world: &'a World, tag: &str, args: [Vec<&str>; 2]) -> Self {
        let name = |which: &str| format!("{tag}-{which}-{}", std::process::id());
        let guests = Self { world, names: [name("one"), name("two")] };
        let boot = |number: usize, more: &[String]| {
            let mut up = world.xtask(&["up", &guests.names[number]]);
            let output = up.args(&args[number]).args(more).output().unwrap();
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
        self.start(number, 80, &line_server(80, line));
    }

    /// Starts a server in a guest, and waits until it answers.
    fn start(&self, number: usize, port: u16, server: &str) {
        self.says(
            number,
            &format!("perl -MIO::Socket::INET -e '{server}' </dev/null >/dev/null 2>&1 &"),
        );
        eventually("a server", || self.run(number, &asks("127.0.0.1", port)).status.success());
    }
}

impl Drop for Guests<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = self.world.xtask(&["down", "--now", name]).output();
        }
    }
}

/// A server in a namespace, which ends when this is dropped.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(at: &Namespace, port: u16, server: &str) -> Serving {
    let mut perl = at.command("perl");
    let serving = Serving(perl.args(["-MIO::Socket::INET", "-e", server]).spawn().unwrap());
    eventually("a server", || ask(at, "127.0.0.1", port).status.success());
    serving
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
    let _server = serve(&world.beyond, 80, &line_server(80, "beyond"));
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
    // Names are asked for at the network's own server, where the host has one to start.
    assert!(guests.says(0, "cat /etc/resolv.conf").contains("192.168.2.1"));
    // There is no third place.
    let third = world.xtask(&["up", "third", "--net", "lab"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&third.stderr)
            .contains("all 2 taps of the network `lab` are taken")
    );
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_network_of_its_own_gives_addresses_and_names() {
    let world = World::new();
    world.host.sh(&format!("mount -t tmpfs none /mnt && echo {ROUTER} gateway.test > /mnt/hosts && mount --bind /mnt/hosts /etc/hosts"));
    world.does(&["up", "lab", "--taps", "2"]);
    let guests = Guests::boot(&world, "dhcp", [&["--dhcp"], &["--dhcp"]]);
    for number in [0, 1] {
        let address = guests.says(number, "hostname -I");
        // The first four are those of the host and of guests that do not ask.
        assert!(address.contains("192.168.2.") && !address.contains("192.168.2.2 "), "{address}");
        assert_eq!(guests.says(number, "cat /etc/resolv.conf"), "nameserver 192.168.2.1\n");
        guests.says(number, &format!("ping -qc1 -W10 {BEYOND}"));
        // A name of the host's own: nobody else answers here.
        assert!(guests.says(number, "getent ahostsv4 gateway.test").starts_with("10.9.0.1 "));
    }
    world.does(&["down", "lab"]);
    // Where there is no room for more, or no dnsmasq, nobody waits for an answer.
    world.does(&["up", "lab", "--subnet", "192.168.2.0/29", "--taps", "5"]);
    let up = world.xtask(&["up", "lost", "--net", "lab", "--dhcp"]).output().unwrap();
    let why = String::from_utf8_lossy(&up.stderr);
    assert!(
        up.status.code() == Some(96) && why.contains("nothing gives addresses by DHCP"),
        "{why}"
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
    // A megabyte, in frames of any length.
    guests.start(1, 81, &server(81, "\"x\" x 1000000"));
    let counts = asks_and("10.9.0.12", 81, "wc -c");
    assert_eq!(guests.says(0, &counts), "1000000\n");
    assert_eq!(world.beyond.sh(&counts), "1000000\n");
}

#[test]
#[ignore = "needs a kernel and an image"]
fn online_a_guest_reaches_what_the_host_does_and_others_what_is_published() {
    let world = World::new();
    let before = world.state();
    let servers = [
        serve(&world.beyond, 80, &line_server(80, "beyond")),
        serve(&world.beyond, 81, &server(81, "\"x\" x 3000000")),
        serve(&world.host, 80, &line_server(80, "for the host alone")),
    ];
    let online = vec!["--online", "--publish", "8080:80", "--publish", "8081:81"];
    let guests = Guests::boot_by(&world, "online", [online, vec!["--online", "--link", "socket"]]);
    guests.serve(0, "the guest");
    for number in [0, 1] {
        assert_eq!(guests.says(number, &asks(BEYOND, 80)), "beyond\n");
        // The router has no such server, and the host's own is not taken for its.
        assert!(!guests.run(number, &asks(ROUTER, 80)).status.success());
    }
    assert_eq!(hears(&ask(&world.beyond, HOST, 8080)), "the guest");
    // More than any buffer on its way holds, each way.
    guests.start(0, 81, &server(81, "\"x\" x 3000000"));
    for number in [0, 1] {
        assert_eq!(guests.says(number, &asks_and(BEYOND, 81, "wc -c")), "3000000\n");
    }
    assert_eq!(world.beyond.sh(&asks_and(HOST, 8081, "wc -c")), "3000000\n");
    // Cases have it too, where that is asked for, and only there.
    let case = ["test-in-uml", "--run-ignored", "only", "a_server_beyond_the_host"];
    let ran = |more: &[&str]| {
        let mut ran = world.xtask(&case);
        ran.args(more).args(more_arguments()).output().unwrap()
    };
    for link in [&[][..], &["--link", "socket"]] {
        let online = ran(&[&["--online"], link].concat());
        assert!(online.status.success(), "{online:?}");
    }
    let shut_in = ran(&[]);
    let said = String::from_utf8_lossy(&shut_in.stderr);
    assert!(shut_in.status.code() == Some(100) && said.contains("nobody is there"), "{said}");
    drop(servers);
    drop(guests);
    assert_eq!(world.state(), before, "nothing of the host was changed");
    // Where nothing leads out there is nothing to do for passt.
    world.host.sh("ip link delete eth9");
    let lost = world.xtask(&["up", "lost", "--online"]).output().unwrap();
    let why = String::from_utf8_lossy(&lost.stderr);
    assert!(lost.status.code() == Some(96) && why.contains("passt does not serve"), "{why}");
}
