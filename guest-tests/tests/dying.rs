//! Cases that end their guest, for those who want to see what is made of that. All are ignored;
//! `cargo xtask ci` runs them and expects each to fail.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::unistd::getppid;
use uml_test::TestResult;

/// Longer than any case may take.
const FOR_EVER: Duration = Duration::from_secs(3600);

#[test]
#[ignore = "ends its guest"]
fn by_a_panic() -> TestResult {
    fs::write("/proc/sys/kernel/sysrq", "1")?;
    fs::write("/proc/sysrq-trigger", "c")?;
    std::thread::sleep(FOR_EVER);
    Ok(())
}

#[test]
#[ignore = "ends its guest"]
fn by_a_frozen_disk() -> TestResult {
    // The agent cannot remove this case's folder any more, and so never answers.
    const FIFREEZE: libc::c_ulong = 0xc004_5877;
    let root = File::open("/")?;
    // SAFETY: the request takes no argument that is read.
    let done = unsafe { libc::ioctl(root.as_raw_fd(), FIFREEZE as _, 0) };
    Errno::result(done)?;
    Ok(())
}

#[test]
#[ignore = "ends its guest"]
fn by_stopping_the_agent() -> TestResult {
    // No signal stops PID 1, but whoever traces it does.
    ptrace::attach(getppid())?;
    std::thread::sleep(FOR_EVER);
    Ok(())
}

#[test]
#[ignore = "ends its guest"]
fn by_switching_it_off() -> TestResult {
    nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF)?;
    Ok(())
}

#[test]
#[ignore = "takes too long on purpose"]
fn not_but_by_taking_too_long() {
    std::thread::sleep(FOR_EVER);
}
