//! What a guest's process may do: nothing that User Mode Linux does not need.
//!
//! Its root (see [`super::sight`]) has no way to the host. What follows is for the case that a fault of the
//! host's kernel makes one: no capability and no way to any, few system calls, Landlock, and limits.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use nix::fcntl::{OFlag, openat};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, getegid, geteuid, setgroups, setresgid, setresuid};

use super::sight::Sight;

/// The user that guests of a root run are run as.
pub(crate) const NOBODY: u32 = 65534;

/// The number of processes and threads a guest may have on the host. Each process in the guest is one, and the
/// guest's kernel refuses more than one for each 256 KiB of its memory.
const PROCESSES: u64 = 8192;

/// The number of files each of them may have open; a kernel with many processes has one for each.
const FILES: u64 = 16384;

/// Bounds for one guest, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResourceLimits {
    /// How large a file may be.
    pub file_size: u64,
    /// How much each of its processes may map; a kernel with a sanitizer maps terabytes.
    pub address_space: Option<u64>,
}

/// The view of /proc that is left to a process whose root has none.
#[derive(Debug)]
pub(crate) struct Proc(OwnedFd);

impl Proc {
    /// Must be called before the root is changed. It can fail where a container masks /proc.
    pub fn open() -> Result<Self> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let dir = File::options().read(true).custom_flags(flags).open("/proc");
        Ok(Self(dir.context("cannot open /proc")?.into()))
    }

    /// Reads a file there.
    pub fn read(&self, path: &str) -> Result<String> {
        let file = openat(&self.0, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .with_context(|| format!("cannot open /proc/{path}"))?;
        let mut text = String::new();
        File::from(file)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read /proc/{path}"))?;
        Ok(text)
    }

    /// Writes to a file of this very process.
    pub fn write_own(&self, name: &str, text: &str) -> Result<()> {
        let path = format!("self/{name}");
        let file =
            openat(&self.0, path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
                .with_context(|| format!("cannot open /proc/{path}"))?;
        nix::unistd::write(file, text.as_bytes())
            .map(drop)
            .with_context(|| format!("cannot write to /proc/{path}"))
    }
}

/// No capability is left, and none can be had: not by exec, not by a setuid program.
pub(crate) fn drop_privileges(was_root: bool) -> Result<()> {
    become_nobody(was_root)?;
    give_up_capabilities().context("cannot give up capabilities")?;
    nix::sys::prctl::set_no_new_privs().context("cannot forbid new privileges")
}

fn become_nobody(was_root: bool) -> Result<()> {
    drop_bounding_set();
    if was_root {
        setgroups(&[]).context("cannot give up groups")?;
        let (gid, uid) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
        setresgid(gid, gid, gid).context("cannot give up the group")?;
        setresuid(uid, uid, uid).context("cannot give up root")?;
    }
    Ok(())
}

fn drop_bounding_set() {
    for capability in 0..64 {
        // SAFETY: PR_CAPBSET_DROP takes plain numbers; one beyond the last capability is EINVAL.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

/// The root of a user namespace keeps its capabilities until it executes something (capabilities(7)).
fn give_up_capabilities() -> nix::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`, and ourselves.
    const HEADER: [u32; 2] = [0x2008_0522, 0];
    let none = [0_u32; 6];
    // SAFETY: capset(2) reads a header of two words, and the three sets twice for version 3.
    let done = unsafe { libc::syscall(libc::SYS_capset, HEADER.as_ptr(), none.as_ptr()) };
    nix::errno::Errno::result(done).map(drop)
}

/// Gives up all that a guest does not need. Its root must be the one of `sight` by now.
pub(crate) fn shut_in(was_root: bool, limits: ResourceLimits, proc: Option<&Proc>) -> Result<()> {
    become_nobody(was_root)?;
    // Whoever runs out of memory on this host, a guest goes first (proc(5)).
    if let Some(proc) = proc {
        let _ = proc.write_own("oom_score_adj", "1000");
    }
    limit(Resource::RLIMIT_CORE, 0)?;
    limit(Resource::RLIMIT_NOFILE, FILES)?;
    limit(Resource::RLIMIT_FSIZE, limits.file_size)?;
    // Without it the limit would be one of all guests together, and of whatever else the user runs.
    if proc.is_some_and(|proc| enter_own_user_namespace(proc).is_ok()) {
        limit(Resource::RLIMIT_NPROC, PROCESSES)?;
    }
    drop_bounding_set();
    give_up_capabilities().context("cannot give up capabilities")?;
    nix::sys::prctl::set_no_new_privs().context("cannot forbid new privileges")?;
    if let Some(bytes) = limits.address_space {
        limit(Resource::RLIMIT_AS, bytes)?;
    }
    Ok(())
}

/// Sets a limit, or leaves a lower one.
fn limit(resource: Resource, most: u64) -> Result<()> {
    let (_, hard) = getrlimit(resource).context("cannot read a limit")?;
    let most = most.min(hard);
    setrlimit(resource, most, most).with_context(|| format!("cannot set {resource:?}"))
}

/// Since Linux 5.14 processes are counted for each user namespace (user_namespaces(7)).
fn enter_own_user_namespace(proc: &Proc) -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    // Who has just changed its user does not own its own files in /proc otherwise.
    nix::sys::prctl::set_dumpable(true).context("cannot open our files in /proc")?;
    unshare(CloneFlags::CLONE_NEWUSER).context("cannot make a user namespace")?;
    proc.write_own("setgroups", "deny")?;
    proc.write_own("uid_map", &format!("{uid} {uid} 1"))?;
    proc.write_own("gid_map", &format!("{gid} {gid} 1"))
}

/// Forbids all files but those of `sight` and the guest's own folder, TCP, signals and abstract sockets
/// (landlock(7)). A host whose kernel has less of Landlock forbids less.
pub(crate) fn landlock(sight: &Sight, dir: &Path) -> Result<RulesetStatus> {
    let abi = ABI::V6;
    let read = AccessFs::from_read(abi);
    // What is meant for folders does not fit a file.
    let of = |path: &Path, access: BitFlags<AccessFs>| match path.is_dir() {
        true => access,
        false => access & AccessFs::from_file(abi),
    };
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    let files = sight.readable().map(|path| (path, read));
    let files = files.chain(sight.writable().map(|path| (path, AccessFs::from_all(abi))));
    for (path, access) in files.chain([(dir, AccessFs::from_all(abi))]) {
        // What this host does not have is not in the root either.
        if let Ok(file) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(file, of(path, access)))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// Whether this host's kernel has Landlock, to any extent.
pub(crate) fn try_landlock() -> Result<()> {
    let status = landlock(&Sight::default(), Path::new("/"))?;
    anyhow::ensure!(status != RulesetStatus::NotEnforced, "the kernel has none");
    Ok(())
}

/// Whether processes can be counted for each guest.
pub(crate) fn try_own_user_namespace() -> Result<()> {
    enter_own_user_namespace(&Proc::open()?)
}

/// A guest has no way to the host but its link: nothing of ours is left open in it.
pub(crate) fn close_others() {
    // SAFETY: close_range(2) with CLOEXEC only marks descriptors; what exec still needs stays open.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn landlock_leaves_the_files_that_are_shown_and_the_own_folder() {
        if try_in_a_thread(try_landlock).is_err() {
            // `doctor` says so.
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (shown, own) = (dir.path().join("shown"), dir.path().join("own"));
        fs::write(&shown, "shown").unwrap();
        fs::write(dir.path().join("other"), "other").unwrap();
        fs::create_dir(&own).unwrap();
        try_in_a_thread(|| {
            landlock(&Sight::default().with(&shown), &own)?;
            assert_eq!(fs::read(&shown)?, b"shown");
            let denied = |result: std::io::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
            };
            denied(fs::write(&shown, "written"));
            denied(fs::read(dir.path().join("other")).map(drop));
            denied(std::net::TcpListener::bind("127.0.0.1:0").map(drop));
            fs::write(own.join("file"), "own")?;
            fs::write("/dev/null", "nothing")?;
            Ok(())
        })
        .unwrap();
    }

    /// What Landlock forbids, it forbids to one thread.
    fn try_in_a_thread(body: impl FnOnce() -> Result<()> + Send) -> Result<()> {
        std::thread::scope(|scope| scope.spawn(body).join().unwrap())
    }
}
