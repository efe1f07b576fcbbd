//! Switching the guest off in order.

use std::convert::Infallible;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, sync};

use crate::Role;

/// Ends all other processes and makes the root file system clean. A guest with an init of its own
/// leaves that to its init.
pub fn prepare(role: Role) {
    if role == Role::Init {
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        sync();
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        let _ = mount(None::<&str>, "/", None::<&str>, flags, None::<&str>);
    }
}

/// Switches off; does not return.
pub fn off(role: Role) -> ! {
    if role == Role::Init {
        let Err(errno) = reboot(RebootMode::RB_POWER_OFF) as Result<Infallible, _>;
        eprintln!("uml-agent: cannot switch the guest off: {errno}");
    } else if let Err(error) = Command::new("/sbin/poweroff").status() {
        eprintln!("uml-agent: cannot start /sbin/poweroff: {error}");
    }
    loop {
        sleep(Duration::from_secs(60));
    }
}
