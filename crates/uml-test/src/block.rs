//! Temporary block devices.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::libc;

/// A loop device on a file (loop(4)); dropping it detaches the file.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    device: File,
}

/// How many loop devices are looked at; without loop-control, which came with 3.1, they are there
/// from boot.
const DEVICES: u32 = 8;

const LOOP_SET_FD: libc::c_ulong = 0x4c00;
const LOOP_CLR_FD: libc::c_ulong = 0x4c01;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;

impl LoopDevice {
    /// Attaches the file at `path` to a free loop device.
    ///
    /// # Errors
    /// When no device is free.
    pub fn on(path: &Path) -> Result<Self> {
        let open = |path: &Path| File::options().read(true).write(true).open(path);
        let file = open(path).with_context(|| format!("cannot open {}", path.display()))?;
        if let Ok(control) = open(Path::new("/dev/loop-control")) {
            // SAFETY: the request takes no argument; it makes a device if none is free.
            unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
        }
        for index in 0..DEVICES {
            let path = PathBuf::from(format!("/dev/loop{index}"));
            let Ok(device) = open(&path) else { continue };
            // SAFETY: the request takes a descriptor, which is open for the whole call.
            let done =
                unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_FD as _, file.as_raw_fd()) };
            match Errno::result(done) {
                // A device that somebody may write to cannot be mounted, where the kernel protects
                // mounted devices ("block: Add config option to not allow writing to mounted
                // devices").
                Ok(_) => {
                    let device = File::open(&path).context("cannot open a loop device again")?;
                    return Ok(Self { path, device });
                }
                Err(Errno::EBUSY) => {}
                Err(errno) => {
                    return Err(errno).with_context(|| format!("cannot use {}", path.display()));
                }
            }
        }
        bail!("no loop device is free")
    }

    /// The device's node.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // SAFETY: the request takes no argument.
        unsafe { libc::ioctl(self.device.as_raw_fd(), LOOP_CLR_FD as _, 0) };
    }
}
