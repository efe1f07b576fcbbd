//! Handles of processes (pidfd_open(2), since Linux 5.3): who has one can end the process, wherever that is, without
//! asking whoever started it, and can never mean another.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// A handle of our child with that number; nothing where the kernel has none.
pub(super) fn of_child(id: i32) -> Option<OwnedFd> {
    // SAFETY: pidfd_open(2) takes plain numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ends the process at once (pidfd_send_signal(2)). One that is gone already is no error.
pub(super) fn kill(handle: &OwnedFd) -> nix::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal(2) takes plain numbers and no details.
    let done = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), libc::SIGKILL, info, 0)
    };
    match Errno::result(done) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_ended_by_its_handle_and_one_that_is_gone_is_no_error() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let handle = of_child(child.id().cast_signed()).unwrap();
        kill(&handle).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        kill(&handle).unwrap();
        assert!(of_child(child.id().cast_signed()).is_none(), "it is nobody's number any more");
    }
}
