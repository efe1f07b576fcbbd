//! What each step declares that it needs.

use crate::isolation::Facility;

/// A program.
pub(super) struct Tool {
    pub program: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
    pub purpose: &'static str,
}

/// A file.
pub(super) struct NeededFile {
    pub path: &'static str,
    pub package: &'static str,
    pub purpose: &'static str,
}

/// Something that the host grants or refuses.
pub(super) struct HostNeed {
    pub facility: Facility,
    pub effect: &'static str,
    pub cure: &'static str,
}

const fn tool(program: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool { program, package, purpose }
}

pub(super) const TOOLS: &[Tool] = &[
    tool("apt-get", "apt", "kernel sources cannot be fetched from Debian"),
    tool("dpkg-deb", "dpkg", "kernel sources cannot be unpacked"),
    tool("make", "make", "kernels cannot be built"),
    tool("gcc", "gcc", "kernels cannot be built"),
    tool("ld", "binutils", "kernels cannot be built"),
    tool("flex", "flex", "kernels cannot be configured"),
    tool("bison", "bison", "kernels cannot be configured"),
    tool("bc", "bc", "kernels cannot be built"),
    tool("perl", "perl", "kernels cannot be built"),
    tool("patch", "patch", "old kernels cannot be made to build"),
    tool("mmdebstrap", "mmdebstrap", "the root file system cannot be bootstrapped"),
    tool("tar", "tar", "images cannot be made"),
    tool("mke2fs", "e2fsprogs", "images cannot be made"),
    tool("debugfs", "e2fsprogs", "images cannot be made"),
    tool("ip", "iproute2", "guests have no link"),
    tool("newuidmap", "uidmap", "the root file system cannot be bootstrapped by an ordinary user"),
];

/// What some commands use, and nobody has to have.
pub(super) const OPTIONAL: &[Tool] = &[
    tool("rsync", "rsync", "`--suite kselftest:TARGET` cannot be built"),
    tool("passt", "passt", "`--online` has no way out"),
    tool("nft", "nftables", "`net up` has no packet filter, unless iptables is there"),
    tool(
        "dnsmasq",
        "dnsmasq-base",
        "networks of `net up` give no addresses by DHCP, and guests ask the host's name servers",
    ),
];

/// What takes the place of namespaces for an ordinary user who has none.
pub(super) const WITHOUT_NAMESPACES: &[Tool] =
    &[tool("fakechroot", "fakechroot", NO_BOOTSTRAP), tool("fakeroot", "fakeroot", NO_BOOTSTRAP)];

const NO_BOOTSTRAP: &str =
    "the root file system cannot be bootstrapped by an ordinary user without namespaces";

pub(super) const FILES: &[NeededFile] = &[
    NeededFile {
        path: "/usr/lib/x86_64-linux-gnu/libc.a",
        package: "libc6-dev",
        purpose: "what runs in guests cannot be linked statically",
    },
    NeededFile {
        path: "/usr/share/keyrings/debian-archive-keyring.gpg",
        package: "debian-archive-keyring",
        purpose: "Debian's signatures cannot be checked",
    },
];

pub(super) const FACILITIES: &[HostNeed] = &[
    HostNeed {
        facility: Facility::Namespaces,
        effect: "guests run, shut in by Landlock and a filter of system calls alone, without taps",
        cure: "allow unshare(2): in a container, docker run --security-opt seccomp=unconfined, or as root \
               in it --cap-add SYS_ADMIN --cap-add NET_ADMIN",
    },
    HostNeed {
        facility: Facility::Tmpfs,
        effect: "guests have no place for their memory",
        cure: "allow mount(2) in namespaces of one's own",
    },
    HostNeed {
        facility: Facility::Loopback,
        effect: "guests have no network",
        cure: "allow CAP_NET_ADMIN in namespaces of one's own",
    },
    HostNeed {
        facility: Facility::Tap,
        effect: "guests run, with links through sockets, which are slower than taps",
        cure: "sudo modprobe tun && sudo chmod 0666 /dev/net/tun (udev does the latter where it \
               runs); in a container, pass --device /dev/net/tun",
    },
    HostNeed {
        facility: Facility::Ptrace,
        effect: "guests cannot run: User Mode Linux traces its own processes",
        cure: "set /proc/sys/kernel/yama/ptrace_scope to 1 or less; in a container, allow ptrace \
               (docker run --security-opt seccomp=unconfined)",
    },
    HostNeed {
        facility: Facility::Personality,
        effect: "guests run, but each is started several times, until its addresses at random fit",
        cure: "in a container, allow personality(ADDR_NO_RANDOMIZE): docker run --security-opt \
               seccomp=unconfined",
    },
    HostNeed {
        facility: Facility::PivotRoot,
        effect: "guests cannot run: they would see the files of this host",
        cure: "allow pivot_root(2) in namespaces of one's own, and run from no initial RAM disk; in a \
               container, docker run --security-opt seccomp=unconfined",
    },
    HostNeed {
        facility: Facility::Seccomp,
        effect: "guests run, but an evil one can make any system call of this host",
        cure: "a kernel with CONFIG_SECCOMP_FILTER",
    },
    HostNeed {
        facility: Facility::Landlock,
        effect: "guests run, shut in by a root of their own alone",
        cure: "a kernel of 5.13 or later with CONFIG_SECURITY_LANDLOCK, and landlock among its security \
               modules (/sys/kernel/security/lsm, or lsm= at its boot)",
    },
    HostNeed {
        facility: Facility::ProcessLimit,
        effect: "guests run, but an evil one can start as many processes as you can",
        cure: "allow user namespaces within user namespaces (/proc/sys/user/max_user_namespaces); \
               otherwise, bound the control group's pids.max",
    },
];
