//! The other side: what runs the program, and collects what it shows.

use std::ffi::{CString, OsString};
use std::fs::{self, File, Permissions};
use std::io::{PipeReader, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{
    ForkResult, Pid, chdir, chroot, dup2_stderr, dup2_stdin, dup2_stdout, execveat, getpid,
    pivot_root, setsid,
};

use super::{Exceeded, Refusal, Shown, ShutLimits, ShutSpec};
use crate::confine::{DIR, drop_privileges};
use crate::isolation::contain::filter;
use crate::isolation::{
    FAILED, Ids, Namespaces, SHUT, die_with_parent, enter, fork, is_real_root, unblock_signals,
};

/// Serves `__shut`: stays outside of the namespaces, and waits.
pub(in crate::isolation) fn serve(args: &[OsString]) -> Result<i32> {
    let [spec] = args else { bail!("usage: {SHUT} SPEC") };
    let spec: ShutSpec = serde_json::from_slice(spec.as_bytes()).context("no such spec")?;
    // Ctrl-C is for the process that started us alone.
    setsid().context("cannot start a session")?;
    let own = getpid();
    let begun = Keeper::open(&spec).and_then(|keeper| {
        if spec.apart {
            enter(Namespaces::Run, Ids::Own)?;
        }
        Ok((keeper, fork()?))
    });
    match begun {
        Err(error) => answer(Err(error)),
        Ok((_, ForkResult::Parent { child })) => {
            let mut status = 0;
            // SAFETY: `status` is a valid place for waitpid(2) to write to.
            unsafe { libc::waitpid(child.as_raw(), &mut status, 0) };
            Ok(ExitStatus::from_raw(status).code().unwrap_or(FAILED))
        }
        Ok((keeper, ForkResult::Child)) => {
            let shown = die_with_parent(own).and_then(|()| keeper.run_all());
            std::process::exit(answer(shown)?)
        }
    }
}

fn answer(shown: Result<Vec<Shown>>) -> Result<i32> {
    let shown = shown.map_err(|error| match error.downcast::<Exceeded>() {
        Ok(exceeded) => Refusal::Exceeded(exceeded),
        Err(error) => Refusal::Other(format!("{error:#}")),
    });
    let bytes = postcard::to_stdvec(&shown).context("cannot answer")?;
    std::io::stdout().write_all(&bytes).context("cannot answer")?;
    Ok(0)
}

/// PID 1: what it needs of the host is open before it leaves it.
struct Keeper<'a> {
    spec: &'a ShutSpec,
    program: File,
    null: File,
    was_root: bool,
}

impl<'a> Keeper<'a> {
    fn open(spec: &'a ShutSpec) -> Result<Self> {
        let program = File::open(&spec.program).context("cannot open the program")?;
        let null = File::open("/dev/null").context("cannot open /dev/null")?;
        Ok(Self { spec, program, null, was_root: is_real_root() })
    }

    fn run_all(mut self) -> Result<Vec<Shown>> {
        if self.spec.apart {
            self.program = own_root(&self.program)?;
        }
        let until = Instant::now() + self.spec.limits.time;
        self.spec.runs.iter().map(|args| self.run(args, until)).collect()
    }

    fn run(&self, args: &[String], until: Instant) -> Result<Shown> {
        let (stdout, their_stdout) = std::io::pipe().context("cannot make a pipe")?;
        let (stderr, their_stderr) = std::io::pipe().context("cannot make a pipe")?;
        let own = getpid();
        let ForkResult::Parent { child } = fork()? else {
            let error = dup2_stdout(&their_stdout)
                .and_then(|()| dup2_stderr(&their_stderr))
                .context("cannot give it our pipes")
                .and_then(|()| self.become_it(own, args))
                .err();
            // Through the pipe: the program was not even started.
            eprintln!("{NOT_STARTED}{:#}", error.unwrap_or_else(|| anyhow::anyhow!("no reason")));
            // SAFETY: this ends a forked child at once, as it should.
            unsafe { libc::_exit(127) };
        };
        drop((their_stdout, their_stderr));
        let shown = self.watch(child, [stdout, stderr], until);
        if shown.is_err() {
            let _ = kill(child, Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(child, None);
        }
        let shown = shown?;
        let why = String::from_utf8_lossy(&shown.stderr);
        match why.strip_prefix(NOT_STARTED) {
            Some(why) if shown.status().code() == Some(127) => {
                bail!("it cannot be shut in here: {}", why.trim())
            }
            _ => Ok(shown),
        }
    }

    /// Turns this process into the program; returns only why it cannot.
    fn become_it(&self, parent: Pid, args: &[String]) -> Result<()> {
        unblock_signals();
        dup2_stdin(&self.null).context("cannot give it /dev/null")?;
        let text = |text: &String| CString::new(text.as_str()).context("a zero byte");
        let args: Vec<CString> = [Ok(c"tests".into())]
            .into_iter()
            .chain(args.iter().map(text))
            .collect::<Result<_>>()?;
        let env: Vec<CString> = self.spec.env.iter().map(text).collect::<Result<_>>()?;
        let ShutLimits { time, memory, threads, .. } = self.spec.limits;
        let seconds = time.as_secs() + 1;
        drop_privileges(self.was_root)?;
        // Changing the user clears it.
        die_with_parent(parent)?;
        for (resource, limit) in [
            (Resource::RLIMIT_AS, memory),
            (Resource::RLIMIT_CORE, 0),
            (Resource::RLIMIT_CPU, seconds),
            (Resource::RLIMIT_FSIZE, 0),
            // Counted anew only after the change of the user, or exec(2) would fail.
            (Resource::RLIMIT_NPROC, threads),
        ] {
            setrlimit(resource, limit, limit)
                .with_context(|| format!("cannot set {resource:?}"))?;
        }
        // SAFETY: close_range(2) with CLOEXEC only marks descriptors; what exec needs stays open.
        unsafe {
            let cloexec = libc::CLOSE_RANGE_CLOEXEC;
            libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, cloexec);
        }
        filter::install(getpid().as_raw())?;
        execveat(&self.program, c"", &args, &env, AtFlags::AT_EMPTY_PATH)
            .context("cannot start it")?;
        Ok(())
    }

    /// Collects what it writes until it ends.
    fn watch(&self, child: Pid, streams: [PipeReader; 2], until: Instant) -> Result<Shown> {
        let mut streams = streams.map(Some);
        let mut written = [Vec::new(), Vec::new()];
        let lifeline = std::io::stdin();
        loop {
            let open = streams.iter().flatten();
            let mut fds = vec![PollFd::new(lifeline.as_fd(), PollFlags::POLLIN)];
            fds.extend(open.map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)));
            let left = until.saturating_duration_since(Instant::now());
            let time = self.spec.limits.time;
            ensure!(!left.is_zero(), Exceeded(format!("it takes longer than {time:?}")));
            // Only a program that closed its output is looked at again and again.
            let pause = if fds.len() == 1 { Duration::from_millis(5).min(left) } else { left };
            let _ = poll(&mut fds, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX));
            let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
            ensure!(!ready(&fds[0]), "nobody waits for it any more");
            let mut ready: std::vec::IntoIter<bool> =
                fds[1..].iter().map(ready).collect::<Vec<_>>().into_iter();
            for (stream, written) in streams.iter_mut().zip(&mut written) {
                if stream.is_some() && ready.next() == Some(true) {
                    self.read_available(stream, written)?;
                }
            }
            if streams.iter().all(Option::is_none)
                && let Some(raw_status) = reaped(child)
            {
                let [stdout, stderr] = written;
                return Ok(Shown { raw_status, stdout, stderr });
            }
        }
    }

    fn read_available(&self, stream: &mut Option<PipeReader>, written: &mut Vec<u8>) -> Result<()> {
        let mut buffer = [0; 64 << 10];
        let Some(open) = stream else { return Ok(()) };
        match open.read(&mut buffer).context("cannot read what it writes")? {
            0 => *stream = None,
            count => written.extend(&buffer[..count]),
        }
        let limit = self.spec.limits.output;
        ensure!(written.len() <= limit, Exceeded(format!("it writes more than {limit} bytes")));
        Ok(())
    }
}

fn reaped(child: Pid) -> Option<i32> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for waitpid(2) to write to.
    let pid = unsafe { libc::waitpid(child.as_raw(), &mut status, libc::WNOHANG) };
    (pid == child.as_raw()).then_some(status)
}

/// Makes a root that has nothing but the program, whatever its owner and mode were, and opens it
/// there.
fn own_root(mut program: &File) -> Result<File> {
    let size = program.metadata().context("cannot examine the program")?.len() + (1 << 20);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let options = format!("size={size},mode=755");
    mount(Some("tests"), DIR, Some("tmpfs"), flags, Some(options.as_str()))
        .context("cannot mount a tmpfs")?;
    chdir(DIR).context("cannot enter a tmpfs")?;
    let mut copy = File::create("tests").context("cannot copy the program")?;
    std::io::copy(&mut program, &mut copy).context("cannot copy the program")?;
    // A file that is open for writing cannot be executed.
    drop(copy);
    fs::set_permissions("tests", Permissions::from_mode(0o555))?;
    match pivot_root(".", ".") {
        Ok(()) => umount2(".", MntFlags::MNT_DETACH).context("cannot leave the host's root")?,
        // An initramfs has no mount to put in its place.
        Err(Errno::EINVAL) => chroot(".").context("cannot leave the host's root")?,
        Err(error) => bail!("cannot leave the host's root: {error}"),
    }
    chdir("/").context("cannot enter the root")?;
    let read_only = flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, "/", None::<&str>, read_only, None::<&str>)
        .context("cannot make the root read-only")?;
    File::open("/tests").context("cannot open the program")
}

/// What stands before the reason why a program was not even started.
const NOT_STARTED: &str = "xtask: ";
