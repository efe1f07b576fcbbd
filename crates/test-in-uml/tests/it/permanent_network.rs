//! Networks of the host that each boot makes again. The program that a boot would start stands for it; tests that need one
//! are ignored here, and `cargo xtask ci` runs those of the programs that there are.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::support::eventually;
use super::world::{BEYOND, HOST, ROUTER, UPLINK, World};

/// A world whose host has configuration files of its own, and none for this uplink but these.
fn world(files: &[(&str, &str)]) -> World {
    let world = World::new();
    world.host.sh(
        "mkdir /run/etc /run/etc/upper /run/etc/work /run/network && \
         mount -t overlay none -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work /etc && \
         mkdir -p /etc/network/interfaces.d /etc/systemd/network && rm -rf /etc/cargo-xtask-uml",
    );
    for (path, text) in files {
        world.host.sh(&format!("cat > {path} <<'END'\n{text}END\n"));
    }
    world
}

/// All below /etc, in words.
fn etc(world: &World) -> String {
    world.host.sh(
        "find /etc -printf '%p %y %m %l\\n' | sort; \
         find /etc/network /etc/systemd /etc/modules-load.d /etc/sysctl.d -type f -exec sha256sum {} + | sort",
    )
}

fn pings(world: &World) {
    eventually("the machine beyond the router", || {
        let mut ping = world.host.command("ping");
        ping.args(["-qc1", "-W1", BEYOND]).output().unwrap().status.success()
    });
}

/// Checks that a network of its own is there as `net up` makes it.
fn is_made(world: &World) {
    let there = world
        .host
        .sh("ip -br address show dev uml-lab; ip -br link show master uml-lab; nft list ruleset; \
         cat /proc/sys/net/ipv4/conf/uml-lab/forwarding");
    for says in ["192.168.2.1/24", "uml-lab-0", "uml-lab-3", "dnat to 192.168.2.2:80", "masquerade"]
    {
        assert!(there.contains(says), "{says}: {there}");
    }
    assert!(there.ends_with("1\n"), "it forwards: {there}");
    let status = world.does(&["status"]);
    assert!(status.starts_with("lab  192.168.2.0/24, beyond it by eth9"), "{status}");
}

const INTERFACES: &str = "/etc/network/interfaces";

/// As an installer of Debian writes it, with what a person may have added.
fn interfaces() -> String {
    format!(
        "source /etc/network/interfaces.d/*\n\n# The first.\nauto lo {UPLINK}\niface lo inet loopback\n\niface {UPLINK} inet static\n\
         \taddress {HOST}/24\n\tgateway {ROUTER}\n\tup ip route add \\\n\t\t10.7.0.0/24 via {ROUTER} # more\n"
    )
}

const NAT: [&str; 5] = ["up", "lab", "--publish", "8080:192.168.2.2:80", "--permanent"];
const BRIDGE: [&str; 7] = ["up", "lab", "--mode", "bridge", "--uplink", UPLINK, "--permanent"];

#[test]
#[ignore = "needs ifupdown on the host"]
fn ifupdown_makes_it_at_boot_and_what_was_written_is_taken_back() {
    let world = world(&[(INTERFACES, &interfaces())]);
    let (before, files) = (world.state(), etc(&world));
    let by = &["--manager", "ifupdown"][..];
    world.fails(&[&NAT[..], by].concat(), "`--yes` writes them unasked");
    let dry = world.does(&[&NAT[..], by, &["--dry-run"]].concat());
    assert!(dry.contains("+++ /etc/network/interfaces.d/uml-lab\n"), "{dry}");
    assert_eq!(
        (world.state(), etc(&world)),
        (before.clone(), files.clone()),
        "nothing is done yet"
    );

    world.does(&[&NAT[..], by, &["--yes"]].concat());
    is_made(&world);
    assert!(world.does(&["status"]).contains("permanent by ifupdown"));
    world.does(&["down", "lab"]);
    assert_eq!(world.state(), before);
    assert_eq!(world.does(&["status"]), "lab  not up: ifupdown makes it at the next boot\n");
    world.host.sh("ifup uml-lab");
    is_made(&world);
    world.fails(&["up", "lab"], "ifupdown has made it at this boot");
    world.fails(&["down", "lab"], "ifupdown has made `lab` at this boot");
    world.host.sh("ifdown uml-lab");
    world.does(&["down", "lab", "--permanent"]);
    assert_eq!(etc(&world), files, "byte for byte");
    assert_eq!(world.does(&["down", "lab", "--permanent"]), "");
}

#[test]
#[ignore = "needs ifupdown on the host"]
fn ifupdown_gives_a_bridge_what_the_uplink_had() {
    let world = world(&[(INTERFACES, &interfaces())]);
    let files = etc(&world);
    world.does(&[&BRIDGE[..], &["--yes"]].concat());
    let text = world.host.sh("cat /etc/network/interfaces /etc/network/interfaces.d/uml-lab");
    assert!(
        text.contains("iface eth9 inet manual") && text.contains("iface uml-lab inet static"),
        "{text}"
    );
    world.does(&["down", "lab"]);
    // As a boot finds it.
    world.host.sh(&format!("ip address flush dev {UPLINK} && ifup {UPLINK} uml-lab"));
    pings(&world);
    let routes = world.host.sh("ip route show dev uml-lab");
    assert!(routes.contains("10.7.0.0/24 via 10.9.0.1"), "{routes}");
    world.host.sh("ifdown uml-lab");
    world.does(&["down", "lab", "--permanent"]);
    assert_eq!(etc(&world), files, "byte for byte");
}

#[test]
fn a_file_that_was_changed_since_is_left_and_named() {
    let world = world(&[(INTERFACES, &interfaces())]);
    world.does(&[&BRIDGE[..], &["--yes"]].concat());
    world.does(&["down", "lab"]);
    world.host.sh(&format!("echo '# mine' >> {INTERFACES}"));
    world.fails(&["down", "lab", "--permanent"], "/etc/network/interfaces was changed since");
    assert!(world.host.sh(&format!("cat {INTERFACES}")).ends_with("# mine\n"));
    // Once that is undone the rest is.
    world.host.sh(&format!("sed -i '$d' {INTERFACES}"));
    world.does(&["down", "lab", "--permanent"]);
    assert_eq!(world.host.sh(&format!("cat {INTERFACES}")), interfaces());
}

#[test]
fn who_is_killed_while_it_is_written_leaves_what_can_be_taken_back() {
    let world = world(&[(INTERFACES, &interfaces())]);
    let (before, files) = (world.state(), etc(&world));
    let args = [&["net"], &BRIDGE[..], &["--yes"]].concat();
    let record = format!("/proc/{}/root/etc/cargo-xtask-uml/networks", world.host.id());
    for _ in 0..20 {
        let mut up = world.xtask(&args);
        let mut up = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The first that is written.
        eventually("the record", || Path::new(&record).exists());
        let wait = Duration::from_micros(fastrand::u64(0..5000));
        std::thread::sleep(wait);
        let _ = up.kill();
        up.wait().unwrap();
        world.does(&["down", "lab"]);
        assert_eq!(world.state(), before, "{wait:?}");
        world.does(&["down", "lab", "--permanent"]);
        assert_eq!(etc(&world), files, "{wait:?}");
    }
}

/// A program that goes on on a world's host, until this is dropped.
struct Daemon(Child);

impl Daemon {
    fn start(world: &World, program: &str, args: &[&str]) -> Self {
        let mut daemon = world.host.command(program);
        let daemon = daemon.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        Self(daemon.stderr(Stdio::null()).spawn().unwrap())
    }

    fn networkd(world: &World) -> Self {
        let state = "/run/systemd/netif";
        world.host.sh(&format!(
            "mkdir -p {state}/links {state}/leases {state}/lldp && chown -R systemd-network: {state}"
        ));
        Self::start(world, "/lib/systemd/systemd-networkd", &[])
    }

    fn network_manager(world: &World) -> Self {
        Self::start(world, "NetworkManager", &["--no-daemon"])
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Who configures interfaces waits for udev where /sys can be written to, and looks for them there. The daemon is an ordinary
/// user's: the device of taps has the mode that udev gives it.
const SYS: &str = "mount -t sysfs -o ro none /sys && mknod -m 666 /run/tun c 10 200 && mount --bind /run/tun /dev/net/tun";

/// Has a bridge and a network of its own be made, which this daemon is found to make at each boot; then it ends, and they are
/// undone.
fn make_both(world: &World, daemon: Daemon, by: &str) {
    world.does(&[&BRIDGE[..], &["--yes"]].concat());
    world.does(&["up", "two", "--permanent", "--yes"]);
    drop(daemon);
    let status = world.does(&["status"]);
    assert_eq!(status.matches(&format!("permanent by {by}")).count(), 2, "{status}");
    world.does(&["down", "two"]);
    world.does(&["down", "lab"]);
}

#[test]
#[ignore = "needs systemd-networkd on the host"]
fn networkd_makes_it_at_boot() {
    let uplink = format!(
        "[Match]\nName={UPLINK}\n\n[Network]\nLinkLocalAddressing=no\nAddress={HOST}/24\n\n[Route]\nGateway={ROUTER}\nMetric=50\n"
    );
    let world = world(&[("/etc/systemd/network/10-first.network", &uplink)]);
    world.host.sh(SYS);
    let files = etc(&world);
    let networkd = Daemon::networkd(&world);
    eventually("the uplink's configuration", || {
        world.host.sh("cat /run/systemd/netif/links/* || true").contains("NETWORK_FILE=")
    });
    // What the daemon has is found out.
    make_both(&world, networkd, "systemd-networkd");
    world.host.sh(&format!("ip address flush dev {UPLINK}"));
    // As a boot finds it.
    let networkd = Daemon::networkd(&world);
    pings(&world);
    eventually("both networks", || {
        let there =
            world.host.sh("ip route show default; ip -br address show type bridge; ip -br link");
        ["default via 10.9.0.1 dev uml-lab", "192.168.2.1/24", "uml-two-3", "uml-lab-0"]
            .iter()
            .all(|says| there.contains(says))
    });
    // systemd(1) and udev do these.
    world
        .host
        .sh("/etc/systemd/system/multi-user.target.wants/../../../cargo-xtask-uml/networks/two.up");
    assert!(world.host.sh("nft list ruleset").contains("masquerade"));
    drop(networkd);
    world.does(&["down", "lab", "--permanent"]);
    world.does(&["down", "two", "--permanent"]);
    assert_eq!(etc(&world), files, "byte for byte");
}

#[test]
#[ignore = "needs NetworkManager on the host"]
fn network_manager_makes_it_at_boot() {
    let profiles = "/etc/NetworkManager/system-connections";
    let wired = format!(
        "[connection]\nid=wired\ntype=ethernet\ninterface-name={UPLINK}\n\n[ipv4]\nmethod=manual\naddress1={HOST}/24,{ROUTER}\n\n\
         [ipv6]\nmethod=disabled\n"
    );
    let world = world(&[
        ("/etc/NetworkManager/NetworkManager.conf", "[main]\nplugins=keyfile\n"),
        (&format!("{profiles}/wired.nmconnection"), &wired),
    ]);
    world.host.sh(&format!(
        "{SYS} && chmod 600 {profiles}/* && mkdir -p /run/dbus && dbus-uuidgen --ensure"
    ));
    let files = etc(&world);
    let _bus = Daemon::start(&world, "dbus-daemon", &["--system", "--nofork", "--nopidfile"]);
    let forgotten = format!(
        "ip address flush dev {UPLINK} && ip link set {UPLINK} down && rm -rf /run/NetworkManager && mkdir /run/NetworkManager"
    );
    world.host.sh(&forgotten);
    let has = |device: &str, profile: &str| {
        eventually(profile, || {
            world
                .host
                .sh("nmcli -t -f DEVICE,NAME connection show --active || true")
                .contains(&format!("{device}:{profile}\n"))
        });
    };
    let manager = Daemon::network_manager(&world);
    has(UPLINK, "wired");
    pings(&world);
    make_both(&world, manager, "NetworkManager");
    // As a boot finds it.
    world.host.sh(&forgotten);
    let manager = Daemon::network_manager(&world);
    for (device, profile) in
        [(UPLINK, "uml-lab-uplink"), ("uml-two", "uml-two"), ("uml-two-3", "uml-two-3")]
    {
        has(device, profile);
    }
    pings(&world);
    // The daemon's dispatcher, which D-Bus starts, does these.
    world.host.sh("/etc/NetworkManager/dispatcher.d/50-uml-two uml-two up");
    assert!(world.host.sh("nft list ruleset").contains("masquerade"));
    assert_eq!(world.host.sh("cat /proc/sys/net/ipv4/conf/uml-two/forwarding"), "1\n");
    drop(manager);
    world.does(&["down", "lab", "--permanent"]);
    world.does(&["down", "two", "--permanent"]);
    assert_eq!(etc(&world), files, "byte for byte");
}
