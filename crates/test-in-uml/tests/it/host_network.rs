//! Networks of the host.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::support::eventually;
use super::world::{BEYOND, HOST, UPLINK, World};

fn same(before: &str, after: &str, what: &str) {
    let (before, after): (Vec<&str>, Vec<&str>) =
        (before.lines().collect(), after.lines().collect());
    let gone: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
    let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    assert!(before == after, "{what}: gone {gone:#?}, new {new:#?}");
}

const BRIDGE: [&str; 6] = ["up", "lab", "--mode", "bridge", "--uplink", UPLINK];

#[test]
fn what_a_network_changed_is_as_it_was_before() {
    let world = World::new();
    let before = world.state();
    let dry = world.does(&["up", "lab", "--dry-run"]);
    same(&before, &world.state(), "a dry run");
    let done = world.does(&["up", "lab"]);
    assert_eq!(dry, done, "what is printed is what is done");
    assert!(world.does(&["status"]).starts_with("lab  192.168.2.0/24, beyond it by eth9"));
    assert_eq!(
        world.host.sh("cat /proc/sys/net/ipv4/ip_forward"),
        "0\n",
        "the host is no router of others"
    );
    world.does(&["down", "lab"]);
    same(&before, &world.state(), "a network of its own");

    world.fails(&BRIDGE, "carries the default route");
    same(&before, &world.state(), "what was refused");
    world.does(&[&BRIDGE[..], &["--yes"]].concat());
    assert!(
        world
            .host
            .sh("ip route show default")
            .contains("via 10.9.0.1 dev uml-lab proto dhcp metric 100")
    );
    world.host.sh(&format!("ping -qc1 -W5 {BEYOND}"));
    world.beyond.sh(&format!("ping -qc1 -W5 {HOST}"));
    world.does(&["down", "lab"]);
    same(&before, &world.state(), "a bridge");
    world.host.sh(&format!("ping -qc1 -W5 {BEYOND}"));
    // Nothing is left, and to say so is no failure.
    assert_eq!(world.does(&["down", "lab"]), "");
    assert_eq!(world.does(&["status"]), "");
}

#[test]
fn what_the_lines_say_can_be_pasted() {
    let world = World::new();
    let script = world.does(&["up", "lab", "--publish", "8080:192.168.2.2:80", "--dry-run"]);
    world.host.sh(&script);
    let by_hand = world.host.sh(
        "ip address show dev uml-lab | grep inet; ip link | grep -c uml-lab-; nft list ruleset",
    );
    assert!(
        by_hand.contains("192.168.2.1/24") && by_hand.contains("dnat to 192.168.2.2:80"),
        "{by_hand}"
    );
}

#[test]
fn networks_that_share_a_setting_leave_it_to_each_other() {
    let world = World::new();
    let before = world.state();
    let forwarding = || world.host.sh(&format!("cat /proc/sys/net/ipv4/conf/{UPLINK}/forwarding"));
    for order in [["one", "two"], ["two", "one"]] {
        world.does(&["up", "one"]);
        world.does(&["up", "two", "--subnet", "192.168.3.0/24"]);
        world.does(&["down", order[0]]);
        assert_eq!(forwarding(), "1\n", "{} needs it", order[1]);
        world.does(&["down", order[1]]);
        same(&before, &world.state(), &order.join(" before "));
    }
    // What somebody else has set meanwhile is theirs.
    world.host.sh(&format!("echo 1 > /proc/sys/net/ipv4/conf/{UPLINK}/forwarding"));
    world.does(&["up", "one"]);
    world.does(&["down", "one"]);
    assert_eq!(forwarding(), "1\n");
}

#[test]
fn where_iptables_drops_the_rules_are_among_its_own() {
    let world = World::new();
    world.host.sh("iptables -P FORWARD DROP && iptables -t nat -S >/dev/null");
    let before = world.host.sh("iptables -S; iptables -t nat -S");
    world.does(&["up", "lab", "--publish", "8080:192.168.2.2:80"]);
    let rules = world.host.sh("iptables -S; iptables -t nat -S");
    for rule in [
        "-A FORWARD -i uml-lab -j ACCEPT",
        "-s 192.168.2.0/24 ! -o uml-lab -j MASQUERADE",
        "--to-destination 192.168.2.2:80",
    ] {
        assert!(rules.contains(rule), "{rules}");
    }
    world.does(&["down", "lab"]);
    assert_eq!(world.host.sh("iptables -S; iptables -t nat -S"), before);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let world = World::new();
    world.host.sh("ip link add uml-there type bridge");
    let before = world.state();
    for (args, says) in [
        (&["up", "lab", "--subnet", "10.20.0.1/16"][..], "10.20.0.1 is not the first address"),
        (&["up", "lab", "--subnet", "10.9.0.0/16"], "10.9.0.0/24 leads already"),
        (&["up", "lab", "--subnet", "10.9.0.128/25"], "leads already, by eth9"),
        (&["up", "lab", "--subnet", "10.20.0.0/30"], "has no room"),
        (&["up", "lab", "--publish", "80:10.20.0.2:80"], "is not in 192.168.2.0/24"),
        (&["up", "lab", "--uplink", "eth7"], "no interface `eth7`"),
        (&["up", "lab", "--mode", "bridge", "--uplink", "eth7"], "no interface `eth7`"),
        (&["up", "there"], "uml-there is there, which is not ours"),
        (&["up", "lab", "--owner", "nobody-of-that-name"], "no user"),
    ] {
        let output = world.net(args);
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(96 | 2)) && why.contains(says),
            "{args:?}: {why}"
        );
        same(&before, &world.state(), says);
    }
    world.does(&["up", "lab"]);
    world.fails(&["up", "lab"], "a network `lab` is there");
    world.does(&["down", "lab"]);
    same(&before, &world.state(), "at the end");
}

#[test]
fn who_is_killed_at_any_instant_leaves_what_can_be_undone() {
    let world = World::new();
    let before = world.state();
    let bridge = [&BRIDGE[..], &["--yes"]].concat();
    let mut random = fastrand::Rng::new();
    let mut half_made = 0;
    for round in 0..40 {
        let args = if round % 2 == 0 { &["up", "lab"][..] } else { &bridge };
        let mut up = world.xtask(&[&["net"], args].concat());
        let mut up = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.u64(0..300)));
        // nsenter has become xtask.
        let pid = Pid::from_raw(up.id().cast_signed());
        if round % 4 < 2 {
            kill(pid, Signal::SIGKILL).unwrap();
            up.wait().unwrap();
            half_made += u32::from(!world.net(&["status"]).status.success());
        } else {
            // Who is asked to stop clears up, unless all was made by then.
            let _ = kill(pid, Signal::SIGINT);
            if !up.wait().unwrap().success() {
                same(&before, &world.state(), &format!("round {round}, interrupted"));
            }
        }
        world.does(&["down", "lab"]);
        same(&before, &world.state(), &format!("round {round}"));
    }
    assert!(half_made > 0, "no instant was within");
    world.host.sh(&format!("ping -qc1 -W5 {BEYOND}"));
}

#[test]
fn a_bridge_that_loses_the_gateway_gives_the_interface_back() {
    let world = World::new();
    let before = world.state();
    // The router goes deaf when the addresses are moved.
    let dir = tempfile::tempdir().unwrap();
    let deaf =
        "table netdev deaf { chain in { type filter hook ingress device up0 priority 0; drop; }; }";
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *-batch*) nsenter -t {} -n nft '{deaf}' ;; esac\nexec /sbin/ip \"$@\"\n",
        world.router.id()
    );
    let ip = dir.path().join("ip");
    std::fs::write(&ip, script).unwrap();
    std::fs::set_permissions(&ip, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let mut up = world.xtask(&[&["net"], &BRIDGE[..], &["--yes"]].concat());
    let output = up.env("PATH", path).output().unwrap();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(96) && why.contains("does not answer any more"), "{why}");
    world.router.sh("nft delete table netdev deaf");
    same(&before, &world.state(), "what was given back");
    eventually("the gateway", || {
        world.host.command("ping").args(["-qc1", "-W1", BEYOND]).output().unwrap().status.success()
    });
}
