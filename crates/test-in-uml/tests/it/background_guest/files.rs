//! Files to and from a guest, and those that are its disks.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;

use super::{Background, fails, says, up};
use crate::support::unique;

#[test]
#[ignore = "needs a kernel and an image"]
fn files_are_copied_whole_or_not_at_all() {
    let guest = Background::boot("copy");
    let dir = tempfile::tempdir().unwrap();
    let place = |path: &str| dir.path().join(path).to_str().unwrap().to_owned();
    let there = |path: &str| format!("{}:{path}", guest.name);
    fs::create_dir_all(place("tree/below")).unwrap();
    fs::write(place("tree/below/run"), "#!/bin/sh\necho it runs\n").unwrap();
    fs::set_permissions(place("tree/below/run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/etc/hostname", place("tree/link")).unwrap();
    let large = "x".repeat(5 << 20);
    fs::write(place("large"), &large).unwrap();

    says("cp", &[&place("tree"), &place("large"), &there("/root")]);
    assert_eq!(guest.says(&["/root/tree/below/run"]), "it runs\n");
    assert_eq!(guest.says(&["readlink", "/root/tree/link"]), "/etc/hostname\n");
    says("cp", &[&place("large"), &there("/root/renamed")]);
    guest.says(&["cmp", "/root/large", "/root/renamed"]);
    says("cp", &[&there("/root/tree"), &place("back")]);
    assert_eq!(fs::read_link(place("back/link")).unwrap().to_str(), Some("/etc/hostname"));
    assert!(fs::metadata(place("back/below/run")).unwrap().permissions().mode() & 0o111 == 0o111);
    says("cp", &[&there("/root/renamed"), &there("/etc/hostname"), dir.path().to_str().unwrap()]);
    assert_eq!(fs::read_to_string(place("renamed")).unwrap(), large);
    assert_eq!(fs::read_to_string(place("hostname")).unwrap(), "uml\n");

    for (args, says) in [
        ([place("nothing"), there("/root")], "No such file"),
        ([place("tree"), there("/root")], "not empty"),
        ([place("large"), there("/no/such/place")], "/no/such"),
        ([place("large"), there("/root/large/")], "not a folder"),
        ([place("large"), there("/proc/large")], "/proc"),
        ([there("/nothing"), place("x")], "No such file"),
        ([there("/dev"), place("x")], "no file, folder"),
        ([place("large"), place("x")], "GUEST:PATH"),
        ([there("/etc"), there("/root")], "by the host"),
        ([place("large"), "no-such-guest:/".into()], "no guest `no-such-guest`"),
    ] {
        let (code, why) = fails("cp", &[&args[0], &args[1]]);
        assert!(code == Some(96) && why.contains(says), "{args:?}: {why}");
    }
    // Neither side has anything of what failed.
    assert!(!dir.path().join("x").exists());
    let hidden = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    assert!(!fs::read_dir(dir.path()).unwrap().flatten().any(|entry| hidden(&entry)));
    assert_eq!(guest.says(&["sh", "-c", "find /root /etc -name '.*arriving'"]), "");
    // A guest without room for it.
    guest.says(&["sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]);
    let (_, why) = fails("cp", &[&place("large"), &there("/mnt")]);
    assert!(why.contains("No space left") && guest.says(&["ls", "-A", "/mnt"]).is_empty(), "{why}");
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_file_that_is_a_disk_has_what_a_guest_wrote_there() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::File::create(&disk).unwrap().set_len(8 << 20).unwrap();
    let before = fs::metadata(&disk).unwrap();
    let args = ["--disk", "16M", "--disk", disk.to_str().unwrap()];
    let guest = Background { name: format!("disk-{}", std::process::id()), mark: unique("disk") };
    let booted = up(&guest.name, &guest.mark).args(args).output().unwrap();
    assert!(booted.status.success(), "{booted:?}");
    guest.says(&[
        "sh",
        "-c",
        "mke2fs -q -t ext4 /dev/ubdc && mount /dev/ubdc /mnt && echo kept > /mnt/note",
    ]);
    let other = up(&format!("{}-2", guest.name), "none").args(args).output().unwrap();
    let why = String::from_utf8_lossy(&other.stderr);
    assert!(other.status.code() == Some(96) && why.contains("a guest has it already"), "{why}");
    says("down", &[&guest.name]);
    let after = fs::metadata(&disk).unwrap();
    assert_eq!((before.uid(), before.gid(), before.len()), (after.uid(), after.gid(), after.len()));
    let note = Command::new("debugfs").args(["-R", "cat /note"]).arg(&disk).output().unwrap();
    assert_eq!(note.stdout, b"kept\n");
}
