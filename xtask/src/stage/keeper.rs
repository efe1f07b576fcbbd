//! The keeper of one guest: PID 1 of the guest's own PID namespace.

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use nix::sched::CloneFlags;
use nix::sys::personality::{self, Persona};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::WaitStatus;
use nix::unistd::{ForkResult, Gid, Pid, Uid, setgroups, setresgid, setresuid, setsid};

use super::share::Share;
use crate::isolation::{fork, mount_proc, unblock_signals};

/// The user that guests of a root run are run as.
pub(super) const NOBODY: u32 = 65534;

/// What a keeper starts.
pub(super) struct Guest {
    pub argv: Vec<OsString>,
    pub share: Share,
    /// Working directory, and the place for memory files.
    pub dir: String,
    /// Whether real root set the stage; its guests run as nobody.
    pub was_root: bool,
}

/// Starts a keeper; `fds` are the guest's console and the pipe for its status.
///
/// clone(2) and not unshare(2): the latter serves one child only, after whose end every fork
/// fails with ENOMEM.
pub(super) fn start(guest: &Guest, fds: Vec<OwnedFd>) -> Result<Pid> {
    let [console, status]: [OwnedFd; 2] =
        fds.try_into().ok().context("a guest comes with two descriptors")?;
    let mut stack = vec![0; 256 << 10];
    let mut pipe = File::from(status);
    let flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    let body = Box::new(|| match keep(guest, &console) {
        Ok(raw) => {
            let _ = pipe.write_all(&raw.to_ne_bytes());
            0
        }
        Err(error) => {
            // What goes to the console is shown with the report of a guest that did not come up.
            let _ = nix::unistd::write(&console, format!("{error:#}\n").as_bytes());
            1
        }
    });
    // SAFETY: this process has no threads, and the child shares no memory with it (no CLONE_VM).
    unsafe { nix::sched::clone(body, &mut stack, flags, Some(nix::libc::SIGCHLD)) }
        .context("cannot clone a keeper")
}

/// Forks UML, reaps whatever it leaves to PID 1, and returns its raw wait status.
fn keep(guest: &Guest, console: &OwnedFd) -> Result<i32> {
    mount_proc();
    unblock_signals();
    // The stage's socket is the run's lifeline: nobody else may hold it.
    nix::unistd::dup2_stdin(File::open("/dev/null").context("cannot open /dev/null")?)?;
    let ForkResult::Parent { child } = fork()? else {
        let error = become_guest(guest, console);
        let _ = nix::unistd::write(console, format!("{error:#}\n").as_bytes());
        std::process::exit(127);
    };
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for waitpid(2) to write to.
        let pid = unsafe { nix::libc::waitpid(-1, &mut status, 0) };
        if pid == child.as_raw() {
            return Ok(status);
        }
        anyhow::ensure!(pid > 0, "the guest vanished: {:?}", WaitStatus::StillAlive);
    }
}

/// Turns this process into UML; returns only the reason why not.
fn become_guest(guest: &Guest, console: &OwnedFd) -> anyhow::Error {
    let [kernel, args @ ..] = guest.argv.as_slice() else {
        return anyhow::anyhow!("a guest needs a command line");
    };
    if let Err(error) = prepare(guest) {
        return error;
    }
    let (Ok(out), Ok(err)) = (console.try_clone(), console.try_clone()) else {
        return anyhow::anyhow!("cannot duplicate the console");
    };
    // UML looks for a place for its memory in these before it tries /dev/shm.
    let mut command = Command::new(kernel);
    command.args(args).current_dir(&guest.dir).env_clear();
    for name in ["TMP", "TEMP", "TMPDIR", "HOME"] {
        command.env(name, &guest.dir);
    }
    // UML starts helpers such as port-helper by name.
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    // A pipe carries output only; on a terminal sits a person, or whoever drives it.
    match (console.is_terminal(), console.try_clone()) {
        (true, Ok(input)) => command.stdin(input),
        _ => command.stdin(Stdio::null()),
    };
    command.stdout(out).stderr(err);
    close_others();
    let error = command.exec();
    let kernel = String::from_utf8_lossy(&kernel.clone().into_vec()).into_owned();
    anyhow::Error::new(error).context(format!("cannot start {kernel}"))
}

fn prepare(guest: &Guest) -> Result<()> {
    // A panicked UML signals its whole process group.
    setsid().context("cannot start a session")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("cannot forbid core files")?;
    // Address space randomisation makes UML add a random gap to the guest's memory. Where a container
    // refuses to turn it off (Docker's seccomp profile does), guests cost more, and run.
    let _ = personality::get().and_then(|now| personality::set(now | Persona::ADDR_NO_RANDOMIZE));
    guest.share.take();
    drop_privileges(guest.was_root)
}

/// No capability is left, and none can be had: not by exec, not by a setuid program.
pub(crate) fn drop_privileges(was_root: bool) -> Result<()> {
    for capability in 0..64 {
        // SAFETY: PR_CAPBSET_DROP takes plain numbers; one beyond the last capability is EINVAL.
        unsafe { nix::libc::prctl(nix::libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    if was_root {
        setgroups(&[]).context("cannot give up groups")?;
        let (gid, uid) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
        setresgid(gid, gid, gid).context("cannot give up the group")?;
        setresuid(uid, uid, uid).context("cannot give up root")?;
    }
    give_up_capabilities().context("cannot give up capabilities")?;
    nix::sys::prctl::set_no_new_privs().context("cannot forbid new privileges")
}

/// The root of a user namespace keeps its capabilities until it executes something (capabilities(7)).
fn give_up_capabilities() -> nix::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`, and ourselves.
    const HEADER: [u32; 2] = [0x2008_0522, 0];
    let none = [0_u32; 6];
    // SAFETY: capset(2) reads a header of two words, and the three sets twice for version 3.
    let done = unsafe { nix::libc::syscall(nix::libc::SYS_capset, HEADER.as_ptr(), none.as_ptr()) };
    nix::errno::Errno::result(done).map(drop)
}

/// The guest has no way to the host but its link: nothing of ours is left open in it.
fn close_others() {
    // SAFETY: close_range(2) with CLOEXEC only marks descriptors; what exec still needs stays open.
    unsafe {
        nix::libc::syscall(
            nix::libc::SYS_close_range,
            3_u32,
            u32::MAX,
            nix::libc::CLOSE_RANGE_CLOEXEC,
        );
    }
}
