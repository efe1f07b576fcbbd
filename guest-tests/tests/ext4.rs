//! ext4, on the root and on a file system made in the guest.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::libc;
use uml_test::{LoopDevice, Mount, TestResult, case_dir, kernel_log, run};

#[test]
fn an_acl_grants_what_the_mode_does_not() -> TestResult {
    let file = case_dir().join("file");
    fs::write(&file, "secret")?;
    run(&format!("chmod 600 {}", file.display()))?;
    run(&format!("setfacl -m u:uml:r {}", file.display()))?;
    let shown = run(&format!("getfacl -p {}", file.display()))?;
    assert!(shown.lines().any(|line| line == "user:uml:r--"), "{shown}");
    run(&format!("setfacl -b {}", file.display()))?;
    let shown = run(&format!("getfacl -p {}", file.display()))?;
    assert!(!shown.contains("user:uml"), "{shown}");
    Ok(())
}

#[test]
fn an_extended_attribute_is_kept() -> TestResult {
    let file = case_dir().join("file");
    fs::write(&file, "")?;
    let (path, name) = (CString::new(file.as_os_str().as_bytes())?, c"user.colour");
    let value = b"green";
    // SAFETY: both strings end with NUL, and the value has the length that is given.
    let done = unsafe {
        libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    Errno::result(done)?;
    let mut read = [0_u8; 16];
    // SAFETY: both strings end with NUL, and the buffer has the length that is given.
    let count = unsafe {
        libc::getxattr(path.as_ptr(), name.as_ptr(), read.as_mut_ptr().cast(), read.len())
    };
    assert_eq!(&read[..usize::try_from(Errno::result(count)?)?], value);
    Ok(())
}

/// Makes an ext4 file system of 16 MiB in a file.
fn made_in(file: &Path) -> anyhow::Result<()> {
    File::create(file)?.set_len(16 << 20)?;
    run(&format!("mke2fs -q -F -t ext4 {}", file.display())).map(drop)
}

/// The tools of the image are younger than some kernels.
#[test]
fn what_mke2fs_makes_by_itself_is_mounted_by_this_kernel() -> TestResult {
    let dir = case_dir();
    for kind in ["ext2", "ext3", "ext4"] {
        let file = dir.join(kind);
        File::create(&file)?.set_len(16 << 20)?;
        run(&format!("mke2fs -q -F -t {kind} {}", file.display()))?;
        let device = LoopDevice::on(&file)?;
        let mount = Mount::new(device.path(), &dir.join("mnt"), "ext4").context(kind)?;
        fs::write(mount.place().join("file"), kind).context(kind)?;
    }
    Ok(())
}

#[test]
fn a_file_system_made_in_the_guest_is_mounted_from_a_loop_device() -> TestResult {
    let dir = case_dir();
    made_in(&dir.join("fs"))?;
    {
        let device = LoopDevice::on(&dir.join("fs"))?;
        let mount = Mount::new(device.path(), &dir.join("mnt"), "ext4")?;
        fs::write(mount.place().join("file"), "kept")?;
    }
    let device = LoopDevice::on(&dir.join("fs"))?;
    let mount = Mount::new(device.path(), &dir.join("mnt"), "ext4")?;
    assert_eq!(fs::read_to_string(mount.place().join("file"))?, "kept");
    Ok(())
}

#[test]
fn the_journal_recovers_what_was_synced() -> TestResult {
    let dir = case_dir();
    made_in(&dir.join("fs"))?;
    let data: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    {
        let device = LoopDevice::on(&dir.join("fs"))?;
        let mount = Mount::new(device.path(), &dir.join("mnt"), "ext4")?;
        let mut file = File::create(mount.place().join("file"))?;
        file.write_all(&data)?;
        file.sync_all()?;
        File::open(mount.place())?.sync_all()?;
        // A copy of the mounted file system is what a power cut leaves.
        fs::copy(dir.join("fs"), dir.join("copy"))?;
    }
    let device = LoopDevice::on(&dir.join("copy"))?;
    let name = device.path().file_name().and_then(|name| name.to_str()).context("no name")?;
    let before = kernel_log()?.matches(&format!("({name}): recovery complete")).count();
    let mount = Mount::new(device.path(), &dir.join("recovered"), "ext4")?;
    let after = kernel_log()?.matches(&format!("({name}): recovery complete")).count();
    assert_eq!(after, before + 1, "the journal was not replayed");
    assert!(fs::read(mount.place().join("file"))? == data, "synced data is gone");
    Ok(())
}
