//! Namespaces that stand for a host, a router and a machine beyond it.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use super::support::{eventually, exe, xtask};

/// The interface that the host reaches the others by, and the addresses there.
pub const UPLINK: &str = "eth9";
pub const HOST: &str = "10.9.0.2";
pub const ROUTER: &str = "10.9.0.1";
pub const BEYOND: &str = "10.8.0.2";

/// A namespace, which goes with its process: that ends with its standard input, which is ours.
pub struct Namespace(Child);

impl Namespace {
    fn new(mut unshare: Command, script: &str) -> Self {
        unshare.args([
            "--net",
            "--mount",
            "sh",
            "-c",
            &format!("{script} && echo ready && exec cat"),
        ]);
        let mut child = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut word = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut word).unwrap();
        assert_eq!(&word, b"ready\n");
        Self(child)
    }

    pub fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// A command there.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.id(), "--net", "--mount"]);
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(program);
        command
    }

    /// What a line of shell says there; it has to succeed.
    pub fn sh(&self, line: &str) -> String {
        let output = self.command("sh").args(["-c", line]).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A host with a router, and a machine beyond that.
pub struct World {
    pub host: Namespace,
    pub router: Namespace,
    pub beyond: Namespace,
}

impl World {
    pub fn new() -> Self {
        let quiet = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 && echo 1 > \
                     /proc/sys/net/ipv6/conf/default/disable_ipv6 && ip link set lo up";
        let mut unshare = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        // What is recorded there is that host's.
        let host = Namespace::new(unshare, &format!("mount -t tmpfs none /run && {quiet}"));
        let other = || Namespace::new(host.command("unshare"), quiet);
        let (router, beyond) = (other(), other());
        // nsenter and unshare become what they start.
        host.sh(&format!(
            "ip link add {UPLINK} type veth peer name up0 netns {} && ip address add {HOST}/24 broadcast + dev {UPLINK} && \
             ip link set {UPLINK} up && ip route add default via {ROUTER} dev {UPLINK} proto dhcp metric 100",
            router.id()
        ));
        router.sh(&format!(
            "ip link add down0 type veth peer name eth0 netns {} && ip address add {ROUTER}/24 dev up0 && \
             ip address add 10.8.0.1/24 dev down0 && ip link set up0 up && ip link set down0 up && \
             echo 1 > /proc/sys/net/ipv4/ip_forward",
            beyond.id()
        ));
        beyond.sh(&format!(
            "ip address add {BEYOND}/24 dev eth0 && ip link set eth0 up && ip route add default via 10.8.0.1"
        ));
        let world = Self { host, router, beyond };
        // The carrier comes a moment later.
        eventually("the uplink", || {
            world
                .host
                .command("ping")
                .args(["-qc1", "-W1", BEYOND])
                .output()
                .unwrap()
                .status
                .success()
        });
        world
    }

    /// xtask on the host.
    pub fn xtask(&self, args: &[&str]) -> Command {
        let mut command = self.host.command(exe().to_str().unwrap());
        command.args(args).stdin(Stdio::null());
        // As it is called elsewhere.
        for (name, value) in xtask().get_envs() {
            command.env(name, value.unwrap());
        }
        command.env("CARGO_MANIFEST_DIR", PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        command
    }

    pub fn net(&self, args: &[&str]) -> Output {
        self.xtask(&[&["net"], args].concat()).output().unwrap()
    }

    /// What a command for networks says that succeeds.
    pub fn does(&self, args: &[&str]) -> String {
        let output = self.net(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn fails(&self, args: &[&str], says: &str) {
        let output = self.net(args);
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(96) && why.contains(says), "{args:?}: {why}");
    }

    /// All of the host that a network changes, in words. The kernel makes a key for TCP Fast Open once something serves
    /// with it.
    pub fn state(&self) -> String {
        self.host.sh(
            "ip -details address; ip route show table all; nft list ruleset; \
             grep -rs '' /proc/sys/net | grep -v -e conntrack_count -e neigh/ -e tcp_fastopen_key | sort; \
             ls -A /run; stat -c %a /dev/net/tun",
        )
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The servers of networks that were not undone.
        let mut kill = self.host.command("sh");
        let _ = kill.args(["-c", "cat /run/uml-*.pid 2>/dev/null | xargs -r kill"]).output();
    }
}
