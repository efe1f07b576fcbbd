//! Kernel modules under test, built from the folders that `modules` of the configuration and
//! `--module` name.

use std::io::{PipeReader, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::kernel::kernel_log;

/// The time an unload may take; one that waits for a reference never ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// No test has a descriptor above this, unless it makes a point of it (RLIMIT_NOFILE).
const MOST_DESCRIPTORS: libc::c_int = 1024;

/// A module that is loaded, and unloaded when this is dropped.
#[derive(Debug)]
pub struct Module {
    name: String,
    loaded: bool,
}

impl Module {
    /// Loads the module `name`, as init_module(2) does.
    ///
    /// # Errors
    /// When no such module was built for this kernel, or the kernel refuses it: with what it said.
    pub fn load(name: &str) -> Result<Self> {
        Self::load_with(name, &[])
    }

    /// Loads the module `name` with parameters, each by its name.
    ///
    /// # Errors
    /// As [`Module::load`].
    pub fn load_with(name: &str, parameters: &[(&str, &str)]) -> Result<Self> {
        let path = path_of(name)?;
        let image =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let parameters: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let parameters = std::ffi::CString::new(parameters.join(" "))?;
        let before = kernel_log()?;
        // SAFETY: the image has the length that is given, and the parameters end with zero.
        let done = unsafe {
            libc::syscall(libc::SYS_init_module, image.as_ptr(), image.len(), parameters.as_ptr())
        };
        if let Err(error) = Errno::result(done) {
            let after = kernel_log().unwrap_or_default();
            let said = after.strip_prefix(&before).unwrap_or_default().trim_end();
            bail!("cannot load the module {name}: {}\n{said}", error.desc());
        }
        Ok(Self { name: name.into(), loaded: true })
    }

    /// Unloads the module.
    ///
    /// # Errors
    /// When the kernel refuses, because something uses the module, or does not come back from it within
    /// ten seconds: with what it said meanwhile, such as what it waits for.
    pub fn unload(self) -> Result<()> {
        self.unload_within(PATIENCE)
    }

    /// Unloads the module, and waits this long for it.
    ///
    /// # Errors
    /// As [`Module::unload`].
    pub fn unload_within(mut self, patience: Duration) -> Result<()> {
        self.end(patience)
    }

    fn end(&mut self, patience: Duration) -> Result<()> {
        if !std::mem::take(&mut self.loaded) {
            return Ok(());
        }
        let before = kernel_log()?;
        let ended = Unload::start(&self.name)?.wait(patience)?;
        let why = match ended {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => {
                format!("cannot unload the module {}: {}", self.name, error.desc())
            }
            None => {
                let name = &self.name;
                format!("the module {name} does not come back from its unload in {patience:?}")
            }
        };
        let after = kernel_log().unwrap_or_default();
        let said = after.strip_prefix(&before).unwrap_or_default().trim_end();
        bail!("{why}{}{said}", if said.is_empty() { "" } else { "\n" })
    }
}

/// An unload that goes on in a process of its own. The module's code runs in it: if that does not come
/// back, the process cannot be ended, and a test with such a thread could not either.
struct Unload {
    child: Pid,
    result: PipeReader,
}

impl Unload {
    fn start(name: &str) -> Result<Self> {
        let name = std::ffi::CString::new(name)?;
        let (result, theirs) = std::io::pipe()?;
        // SAFETY: the child makes system calls alone, and what they are given was made before.
        match unsafe { fork() }.context("cannot fork")? {
            ForkResult::Parent { child } => Ok(Self { child, result }),
            ForkResult::Child => {
                let pipe = theirs.as_raw_fd();
                // SAFETY: nobody but this process has these descriptors, which it does not use; the name
                // ends with zero, and the number is four bytes.
                unsafe {
                    // What the test writes to would be open for as long as the unload takes.
                    for fd in (0..MOST_DESCRIPTORS).filter(|fd| *fd != pipe) {
                        libc::close(fd);
                    }
                    let flags = libc::O_NONBLOCK;
                    let done = libc::syscall(libc::SYS_delete_module, name.as_ptr(), flags);
                    let errno = if done == 0 { 0 } else { Errno::last_raw() };
                    libc::write(pipe, std::ptr::from_ref(&errno).cast(), size_of_val(&errno));
                    libc::_exit(0)
                }
            }
        }
    }

    /// How it ended; nothing if it has not.
    fn wait(mut self, patience: Duration) -> Result<Option<nix::Result<()>>> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.result.as_fd(), PollFlags::POLLIN)];
            let limit = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, limit) {
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("cannot wait for an unload"),
                Ok(0) => return Ok(None),
                Ok(_) => break,
            }
        }
        let mut errno = [0; size_of::<i32>()];
        let told = self.result.read_exact(&mut errno);
        waitpid(self.child, None).context("cannot wait for an unload")?;
        told.context("an unload ended without a word")?;
        Ok(Some(match i32::from_ne_bytes(errno) {
            0 => Ok(()),
            errno => Err(Errno::from_raw(errno)),
        }))
    }
}

/// # Panics
/// When the module cannot be unloaded, unless the case fails already.
impl Drop for Module {
    fn drop(&mut self) {
        if let Err(error) = self.end(PATIENCE) {
            if std::thread::panicking() {
                eprintln!("{error:#}");
            } else {
                panic!("{error:#}");
            }
        }
    }
}

/// Where the agent put a module.
fn path_of(name: &str) -> Result<PathBuf> {
    let list = std::env::var(crate::env::MODULES).unwrap_or_default();
    let modules: Vec<(&str, &str)> = list.lines().filter_map(|line| line.split_once(' ')).collect();
    match modules.iter().find(|(known, _)| *known == name) {
        Some((_, path)) => Ok(path.into()),
        None if modules.is_empty() => bail!(
            "there is no module {name}: no module was built; `modules` in [workspace.metadata.uml] \
             and `--module` name folders"
        ),
        None => {
            let names: Vec<&str> = modules.iter().map(|(name, _)| *name).collect();
            bail!("there is no module {name}; there is {}", names.join(", "))
        }
    }
}
