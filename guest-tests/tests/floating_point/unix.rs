//! Pages, pipes and children, without anything in between that uses registers on its own.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;

use crate::hold::Meanwhile;

pub const PAGE: usize = 4096;

/// Pages of which each faults when it is first touched.
pub struct Pages {
    start: *mut u8,
    count: usize,
}

impl Pages {
    pub fn fresh(count: usize) -> Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: an anonymous mapping takes no address and no file.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), count * PAGE, access, kind, -1, 0) };
        ensure!(start != libc::MAP_FAILED, "no memory for {count} pages: {}", Errno::last());
        Ok(Self { start: start.cast(), count })
    }

    /// Changes what may be done with them, by the flags of mmap(2).
    pub fn protect(&self, access: libc::c_int) -> Result<()> {
        // SAFETY: the pages are this value's own, and nobody holds a reference into them.
        let done = unsafe { libc::mprotect(self.start.cast(), self.count * PAGE, access) };
        Errno::result(done).map(drop).context("mprotect failed")
    }

    /// The place `offset` bytes behind the start of a page.
    pub fn place(&self, page: usize, offset: usize) -> *mut u8 {
        assert!(page < self.count && offset < PAGE);
        self.start.wrapping_add(page * PAGE + offset)
    }

    /// The end of the last page, where a stack begins.
    pub fn end(&self) -> *mut u8 {
        self.start.wrapping_add(self.count * PAGE)
    }

    pub fn bytes(&self, page: usize, offset: usize, count: usize) -> &[u8] {
        assert!(page < self.count && offset + count <= PAGE);
        // SAFETY: the bytes are of this value's own pages, which can be read.
        unsafe { std::slice::from_raw_parts(self.place(page, offset), count) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: references into the pages borrow this value.
        unsafe { libc::munmap(self.start.cast(), self.count * PAGE) };
    }
}

/// A pipe, through which one lets another go on.
pub struct Baton {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Baton {
    pub fn new() -> Result<Self> {
        let (reader, writer) = nix::unistd::pipe().context("no pipe")?;
        Ok(Self { reader, writer })
    }

    pub fn give(&self) -> Result<()> {
        nix::unistd::write(&self.writer, b"!").context("cannot write to a pipe")?;
        Ok(())
    }

    /// Waits until it was given. `byte` is where it is read to.
    pub fn taking(&self, byte: &mut u8) -> Meanwhile {
        let place = std::ptr::from_mut(byte) as i64;
        // SAFETY: one byte is read to where there is one.
        unsafe { Meanwhile::call(libc::SYS_read, [self.reader.as_raw_fd().into(), place, 1]) }
    }
}

/// A child, which is waited for or killed.
pub struct Child(libc::pid_t);

impl Child {
    /// Forks; the child does `work` and tells by its status how it went.
    pub fn fork(work: impl FnOnce() -> Result<()>) -> Result<Self> {
        // SAFETY: the child runs `work` and leaves by _exit(2), so that nothing runs twice.
        let pid = Errno::result(unsafe { libc::fork() }).context("fork failed")?;
        if pid == 0 {
            leave(work);
        }
        Ok(Self(pid))
    }

    /// The child that `hold` made by a fork; in that child `work` is done instead.
    pub fn of(meanwhile: &Meanwhile, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        match meanwhile.result() {
            0 => leave(work),
            pid if pid < 0 => bail!("fork failed with error {}", -pid),
            pid => Ok(Self(libc::pid_t::try_from(pid)?)),
        }
    }

    pub fn pid(&self) -> libc::pid_t {
        self.0
    }

    /// Waits for the next change of state; the raw status.
    pub fn wait(&self) -> Result<libc::c_int> {
        let mut status = 0;
        loop {
            // SAFETY: `status` is a valid place for waitpid(2) to write to.
            match Errno::result(unsafe { libc::waitpid(self.0, &mut status, libc::__WALL) }) {
                Ok(_) => return Ok(status),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("waitpid failed"),
            }
        }
    }

    /// Waits for the end; anything but a success is an error.
    pub fn succeed(self) -> Result<()> {
        let status = self.wait()?;
        std::mem::forget(self);
        ensure!(status == 0, "a child ended with status {status:#x}");
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the child was not waited for, so that its number is still its own.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL);
        }
    }
}

/// Waits until a thread sleeps, whoever's it is.
pub fn wait_until_asleep(thread: libc::pid_t) -> Result<()> {
    let stat = format!("/proc/{thread}/stat");
    while !std::fs::read_to_string(&stat).context(stat.clone())?.contains(") S ") {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn leave(work: impl FnOnce() -> Result<()>) -> ! {
    let status = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            eprintln!("in a child: {error:#}");
            1
        }
        Err(_) => 101,
    };
    // SAFETY: _exit(2) runs nothing of this process.
    unsafe { libc::_exit(status) }
}
