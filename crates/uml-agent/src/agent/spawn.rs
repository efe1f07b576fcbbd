//! The start of a case's process.
//!
//! As vfork(2) does it. After a fork(2) each page that the agent or the child touches is a fault, and a
//! fault is what a UML guest is slowest at: the start took twice as long.

use std::convert::Infallible;
use std::ffi::{CStr, CString, NulError, OsStr, OsString, c_char};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, setpgid, write};

use crate::{Role, init};

/// Enough for the calls of [`Start::become_the_program`].
const STACK: usize = 32 << 10;

/// The call that fails for a program that this guest cannot run: a script without its interpreter, for example.
const EXECVE: &str = "execve";

/// What a process is started with.
pub struct Start<'a> {
    program: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    dir: CString,
    /// What becomes its standard input, output and error.
    standard: [BorrowedFd<'a>; 3],
    /// What it gets besides, by the same number.
    more: BorrowedFd<'a>,
    /// A file that is given a 1 by the process itself.
    mark: Option<&'a CStr>,
}

impl<'a> Start<'a> {
    pub fn new(
        program: &Path,
        args: &[String],
        dir: &Path,
        [stdin, stdout, stderr]: [&'a OwnedFd; 3],
        more: &'a OwnedFd,
    ) -> Result<Self> {
        let program = c_string(program.as_os_str())?;
        let mut all = vec![program.clone()];
        for arg in args {
            all.push(c_string(OsStr::new(arg))?);
        }
        Ok(Self {
            program,
            args: all,
            env: Vec::new(),
            dir: c_string(dir.as_os_str())?,
            standard: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
            more: more.as_fd(),
            mark: None,
        })
    }

    /// Has the process write a 1 to this file, last of all.
    pub fn mark(&mut self, file: &'a CStr) {
        self.mark = Some(file);
    }

    /// Sets a variable; the last that is set of a name is the one that there is.
    pub fn env(&mut self, name: &str, value: impl AsRef<OsStr>) -> Result<()> {
        let mut text = OsString::from(name);
        text.push("=");
        let start = text.as_encoded_bytes();
        self.env.retain(|other| !other.as_bytes().starts_with(start));
        text.push(value);
        self.env.push(c_string(&text)?);
        Ok(())
    }

    /// Starts it, in a process group of its own and without what protects the agent.
    pub fn spawn(&self, role: Role) -> Result<Pid> {
        let (args, env) = (pointers(&self.args), pointers(&self.env));
        let (mut failed, mut cannot_run) = (None, None);
        let child = Box::new(|| {
            match self.become_the_program(role, &args, &env) {
                Err((EXECVE, errno)) => cannot_run = Some(errno),
                Err(why) => failed = Some(why),
                Ok(never) => match never {},
            }
            // As a shell has it (POSIX, Shell Command Language, "Exit Status for Commands").
            127
        });
        let mut stack = [0; STACK];
        // We stand still until the child is another program, or has gone; till then it works on our
        // memory, as a function that we call would.
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        // SAFETY: the child keeps to system calls, which need little of its stack; it neither allocates
        // nor returns into what we do.
        let pid = unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) };
        let pid = pid.context("cannot start a process")?;
        if let Some(errno) = cannot_run {
            let why =
                why_it_cannot_run(Path::new(OsStr::from_bytes(self.program.as_bytes())), errno);
            // Where the program would have written. Nobody may be there to read it.
            let _ = write(self.standard[2], why.as_bytes());
        }
        let Some((what, errno)) = failed else { return Ok(pid) };
        waitpid(pid, None).context("cannot reap a process")?;
        Err(errno)
            .with_context(|| format!("cannot start {}: {what}", self.program.to_string_lossy()))
    }

    /// What the child does.
    fn become_the_program(
        &self,
        role: Role,
        args: &[*const c_char],
        env: &[*const c_char],
    ) -> Result<Infallible, (&'static str, Errno)> {
        let at = |what| move |errno| (what, errno);
        // Not a session of its own: whoever leads one gets a terminal that it opens, and dies of its end.
        setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(at("setpgid"))?;
        init::give_up_protection(role).map_err(at("its priority"))?;
        let [stdin, stdout, stderr] = self.standard;
        dup2_stdin(stdin).and_then(|()| dup2_stdout(stdout)).map_err(at("dup2"))?;
        dup2_stderr(stderr).map_err(at("dup2"))?;
        fcntl(self.more, FcntlArg::F_SETFD(FdFlag::empty())).map_err(at("fcntl"))?;
        chdir(self.dir.as_c_str()).map_err(at("its folder"))?;
        // Rust's runtime has ours ignored.
        // SAFETY: no handler is installed.
        unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map_err(at("signal"))?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
            .map_err(at("sigprocmask"))?;
        if let Some(file) = self.mark {
            let file = open(file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty());
            file.and_then(|file| write(&file, b"1")).map_err(at("its mark"))?;
        }
        // SAFETY: the pointers are to strings that outlive the call, and end with a null pointer.
        unsafe { libc::execve(self.program.as_ptr(), args.as_ptr(), env.as_ptr()) };
        Err((EXECVE, Errno::last()))
    }
}

/// What execve(2) leaves unsaid: the file that is not there may be one that the program names.
fn why_it_cannot_run(program: &Path, errno: Errno) -> String {
    let mut start = [0; 256];
    let read = File::open(program).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let needs = match (errno, start[..read].strip_prefix(b"#!")) {
        (Errno::ENOENT | Errno::EACCES, Some(line)) => {
            let line = String::from_utf8_lossy(line);
            let interpreter = line.split_whitespace().next().unwrap_or("none");
            format!(": its interpreter is {interpreter}")
        }
        (Errno::ENOENT, None) if start.starts_with(b"\x7fELF") => {
            ": the dynamic loader that it names; link it statically".into()
        }
        (Errno::ENOEXEC, _) => ": it is for another machine, or no program".into(),
        _ => String::new(),
    };
    format!("the program cannot be run: {}{needs}\n", errno.desc())
}

fn c_string(text: &OsStr) -> Result<CString, NulError> {
    CString::new(text.to_owned().into_vec())
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}
