//! The disk that a guest boots from.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::libc;
use nix::sys::stat::{major, minor};
use uml_test::{TestResult, case_dir, mounts};

#[test]
fn root_is_on_ubd() -> TestResult {
    let root = mounts()?.into_iter().rfind(|mount| mount.place == Path::new("/"));
    let root = root.ok_or(anyhow::anyhow!("nothing is mounted on /"))?;
    assert_eq!(root.kind, "ext4");
    let device = fs::metadata("/")?.dev();
    assert_eq!((major(device), minor(device)), (98, 0), "the first ubd is 98:0");
    Ok(())
}

#[test]
fn the_guides_node_is_there() -> TestResult {
    let node = fs::metadata("/dev/ubd0")?;
    assert!(node.file_type().is_block_device());
    assert_eq!((major(node.rdev()), minor(node.rdev())), (98, 0));
    assert_eq!((node.uid(), node.gid()), (0, 6), "root:disk");
    assert_eq!(node.mode() & 0o7777, 0o660);
    Ok(())
}

#[test]
fn its_size_is_the_same_by_ioctl_and_by_sysfs() -> TestResult {
    const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;
    let disk = File::open("/dev/ubd0")?;
    let mut bytes = 0_u64;
    // SAFETY: the request writes one u64 to where it is told.
    let done = unsafe { libc::ioctl(disk.as_raw_fd(), BLKGETSIZE64 as _, &mut bytes) };
    nix::errno::Errno::result(done)?;
    let sectors: u64 = fs::read_to_string("/sys/block/ubda/size")?.trim().parse()?;
    assert_eq!(bytes, sectors * 512);
    assert!(bytes >= 64 << 20, "an image of {bytes} bytes is too small to be ours");
    Ok(())
}

#[test]
fn what_is_synced_is_read_back_from_the_disk() -> TestResult {
    let path = case_dir().join("data");
    let written: Vec<u8> = (0_u32..1 << 20).flat_map(u32::to_le_bytes).collect();
    let mut file = File::create(&path)?;
    file.write_all(&written)?;
    file.sync_all()?;
    drop(file);
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    let mut read = Vec::new();
    File::open(&path)?.read_to_end(&mut read)?;
    assert!(read == written, "the disk gave back other bytes");
    Ok(())
}

#[test]
fn the_disk_takes_direct_writes() -> TestResult {
    #[repr(align(4096))]
    struct Block([u8; 4096]);
    let path = case_dir().join("direct");
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(libc::O_DIRECT)
            .open(&path)
    };
    open()?.write_all(&Block([0xa5; 4096]).0)?;
    let mut block = Block([0; 4096]);
    open()?.read_exact(&mut block.0)?;
    assert!(block.0.iter().all(|&byte| byte == 0xa5));
    Ok(())
}
