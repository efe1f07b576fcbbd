//! What an init does before anything else can run: mounts, nodes, loopback, host name.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use uml_protocol::wire::Leftover;

use crate::Role;

/// The nodes that the image's manifest declares; devtmpfs covers those in the image.
const NODES: &str = "/etc/uml/nodes";

struct Mount {
    kind: &'static str,
    place: &'static str,
    options: &'static str,
}

const MOUNTS: [Mount; 6] = [
    Mount { kind: "proc", place: "/proc", options: "" },
    Mount { kind: "sysfs", place: "/sys", options: "" },
    Mount { kind: "devtmpfs", place: "/dev", options: "mode=0755" },
    Mount { kind: "devpts", place: "/dev/pts", options: "gid=5,mode=0620,ptmxmode=0666" },
    Mount { kind: "tmpfs", place: "/dev/shm", options: "mode=1777" },
    Mount { kind: "tmpfs", place: "/run", options: "mode=0755" },
];

/// What udev links in devtmpfs (Documentation/admin-guide/devices.txt, "Compulsory links").
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

pub fn set_up() -> Result<()> {
    for entry in &MOUNTS {
        make_dir(entry.place)?;
        match mount(
            Some(entry.kind),
            entry.place,
            Some(entry.kind),
            MsFlags::MS_NOSUID,
            Some(entry.options),
        ) {
            // The kernel mounts devtmpfs itself where it is told to.
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(errno) => {
                return Err(errno).with_context(|| format!("cannot mount {}", entry.place));
            }
        }
    }
    make_links()?;
    make_dir("/run/lock")?;
    make_dir(uml_protocol::PROGRAMS)?;
    if let Ok(text) = fs::read_to_string(NODES) {
        for line in text.lines().filter(|line| !line.is_empty()) {
            make_node(line).with_context(|| format!("in {NODES}: `{line}`"))?;
        }
    }
    keep_links_from_ipv6();
    uml_protocol::interface::bring_up("lo").context("cannot bring the loopback up")?;
    if let Ok(name) = fs::read_to_string("/etc/hostname") {
        nix::unistd::sethostname(name.trim()).context("cannot set the host name")?;
    }
    Ok(())
}

/// Makes the links in /dev that are not there.
fn make_links() -> Result<()> {
    for (name, to) in LINKS {
        match symlink(to, name) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot link {name}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Has the interfaces that are there speak no IPv6, but for the loopback: while cases run, addresses would come by themselves, and be
/// taken for something that they changed. Interfaces that come from now on do, and those of other namespaces, which a parameter of
/// the kernel's command line would have kept from it.
fn keep_links_from_ipv6() {
    // A kernel without IPv6 has no such folder.
    for interface in fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten() {
        if !["all", "default", "lo"].iter().any(|name| interface.file_name() == *name) {
            let _ = fs::write(interface.path().join("disable_ipv6"), "1");
        }
    }
}

/// Configures the link where the kernel does not.
pub fn configure_link() -> Result<()> {
    let Some(link) = crate::parameter(uml_protocol::LINK_PARAMETER)? else { return Ok(()) };
    configure(&link).with_context(|| format!("cannot configure the link, {link}"))
}

/// Configures a link: `INTERFACE:ADDRESS:NETMASK`.
fn configure(link: &str) -> Result<()> {
    let mut parts = link.split(':');
    let mut next = || parts.next().context("a part is missing");
    let (interface, address, netmask) = (next()?, next()?.parse()?, next()?.parse()?);
    Ok(uml_protocol::interface::give_address(interface, address, netmask)?)
}

/// What is left to do where the guest has an init of its own.
pub fn set_up_service() -> Result<()> {
    keep_links_from_ipv6();
    make_links()?;
    // That init lets nothing be run from /run, and leaves little room there.
    make_dir(uml_protocol::PROGRAMS)?;
    let (flags, options) = (MsFlags::MS_NOSUID, Some("mode=0755"));
    mount(Some("tmpfs"), uml_protocol::PROGRAMS, Some("tmpfs"), flags, options)
        .with_context(|| format!("cannot mount {}", uml_protocol::PROGRAMS))?;
    // What a case leaves behind becomes our child, as it would be PID 1's. Kernels before 3.4 cannot
    // do that, and give it to init.
    match nix::sys::prctl::set_child_subreaper(true) {
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno).context("cannot take care of orphans"),
    }
}

/// Mounts /proc again if a case has unmounted it, and says so.
pub fn mount_proc_again() -> Result<Option<Leftover>> {
    if Path::new("/proc/self").exists() {
        return Ok(None);
    }
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::MS_NOSUID, None::<&str>)
        .context("cannot mount /proc again")?;
    Ok(Some(Leftover::Unmounted("/proc".into())))
}

/// Takes away the handlers that Rust's runtime has for the overflow of a stack. A PID 1 gets no signal from
/// others that it does not handle, and one whose frame does not fit the handler's stack is its end: on a
/// host with AMX 7.3 writes frames of 11 KiB, and tells nobody (AT_MINSIGSTKSZ in getauxval(3)).
pub fn handle_no_faults() -> Result<()> {
    for fault in [Signal::SIGSEGV, Signal::SIGBUS] {
        // SAFETY: no handler is installed.
        unsafe { signal(fault, SigHandler::SigDfl) }.context("cannot take a handler away")?;
    }
    Ok(())
}

/// The guest may run out of memory and out of time for its processes: not for the agent, which has
/// to see to it that this ends. What a kernel does not have of this is passed over.
pub fn protect_us(role: Role) {
    // SAFETY: setpriority(2) and mlockall(2) take plain numbers.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, -20);
        // What the agent runs is not to be read from the disk again and again. Since 4.4.
        libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT);
    }
    // The kernel never takes a PID 1.
    if role == Role::Service {
        let _ = fs::write(OOM_SCORE, "-1000");
    }
    // The kernel's own limit asks whether their stacks fit the memory, and not whether anything
    // else of them does: it would run out of memory first, and then be busy with that alone.
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    if let Some(kib) = total {
        let _ = fs::write("/proc/sys/kernel/threads-max", (kib / KIB_PER_THREAD).to_string());
    }
}

/// Memory for a process that was forked and does nothing, with its page tables, in KiB.
const KIB_PER_THREAD: u64 = 256;

/// Makes this process, which the agent has started, one like any other. Async-signal-safe.
pub fn give_up_protection(role: Role) -> Result<(), Errno> {
    // SAFETY: setpriority(2) takes plain numbers.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) })?;
    if role == Role::Init {
        return Ok(());
    }
    let file = open(OOM_SCORE, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::write(&file, b"0").map(drop)
}

/// How much the kernel wants to end a process when it has no memory left (proc(5)).
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

fn make_dir(path: &str) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make {path}"))
        }
        _ => Ok(()),
    }
}

/// Makes the node of a line `PATH TYPE MAJOR MINOR UID GID MODE`.
fn make_node(line: &str) -> Result<()> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    ensure!(fields.len() == 7, "a node has seven fields");
    let path = Path::new(fields[0]);
    let kind = match fields[1] {
        "b" => SFlag::S_IFBLK,
        "c" => SFlag::S_IFCHR,
        other => anyhow::bail!("`{other}` is neither b nor c"),
    };
    let device = makedev(fields[2].parse()?, fields[3].parse()?);
    let mode = u32::from_str_radix(fields[6], 8)?;
    match mknod(path, kind, Mode::from_bits_truncate(mode), device) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno).context("cannot make the node"),
    }
    chown(path, Some(fields[4].parse()?), Some(fields[5].parse()?))?;
    // mknod(2) takes the umask off.
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}
