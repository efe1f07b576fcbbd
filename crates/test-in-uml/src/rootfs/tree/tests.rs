use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;

#[test]
fn links_and_the_right_to_run_are_kept_and_nothing_else_of_a_mode() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/script"), "#!/bin/sh").unwrap();
    fs::write(dir.path().join("etc/plain"), "x").unwrap();
    let mode = |name, mode| {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("etc/script", 0o700);
    mode("etc/plain", 0o600);
    symlink("/nowhere", dir.path().join("etc/dangling")).unwrap();
    let mut tree = RootfsTree::default();
    tree.lay_over(dir.path()).unwrap();
    let node = |name: &str| &tree.nodes[Path::new(name)];
    assert_eq!(node("/etc/script").mode, 0o755);
    assert_eq!(node("/etc/plain").mode, 0o644);
    assert!(
        matches!(&node("/etc/dangling").kind, NodeKind::Symlink(to) if to == Path::new("/nowhere"))
    );
}

#[test]
fn the_hash_of_an_overlay_follows_its_contents() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "1").unwrap();
    let first = overlay_hash(dir.path()).unwrap();
    assert_eq!(first, overlay_hash(dir.path()).unwrap());
    fs::write(dir.path().join("a"), "2").unwrap();
    assert_ne!(first, overlay_hash(dir.path()).unwrap());
}

#[test]
fn a_path_that_climbs_or_ends_a_line_is_refused() {
    assert_eq!(place(Path::new("./usr/bin")).unwrap(), Path::new("/usr/bin"));
    for wrong in ["./../etc", "a\"b", "a\nb"] {
        assert!(place(Path::new(wrong)).is_err(), "{wrong}");
    }
}

/// What is said of laying `overlay`, made by `make`, over an image with a folder, a file and a
/// link.
fn refusal(make: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let mut tree = RootfsTree::default();
    tree.put("/usr/bin".into(), NodeKind::Dir, 0o755);
    tree.put("/etc/file".into(), NodeKind::File(Vec::new()), 0o644);
    tree.put("/bin".into(), NodeKind::Symlink("usr/bin".into()), 0o777);
    format!("{:#}", tree.lay_over(dir.path()).unwrap_err())
}

#[test]
fn what_an_overlay_cannot_hold_is_refused_by_name() {
    let socket = refusal(|dir| drop(UnixListener::bind(dir.join("socket")).unwrap()));
    assert!(socket.contains("/socket is a device, a socket or a FIFO"), "{socket}");
    let fifo = refusal(|dir| mkfifo(&dir.join("fifo"), Mode::S_IRWXU).unwrap());
    assert!(fifo.contains("/fifo is a device, a socket or a FIFO"), "{fifo}");
    let missing = refusal(|dir| fs::remove_dir(dir).unwrap());
    assert!(missing.contains("cannot read") && missing.contains("No such file"), "{missing}");
    let quote = refusal(|dir| fs::write(dir.join("a\"b"), "").unwrap());
    assert!(quote.contains("without quotes"), "{quote}");
}

#[test]
fn what_does_not_fit_the_image_is_refused_by_name() {
    let through = refusal(|dir| fs::create_dir(dir.join("bin")).unwrap());
    assert!(through.contains("/bin is a link: put its files where that leads, to usr/bin"));
    let hiding = refusal(|dir| fs::write(dir.join("usr"), "").unwrap());
    assert!(hiding.contains("/usr is no folder, but /usr is"), "{hiding}");
    let below = refusal(|dir| fs::create_dir_all(dir.join("etc/file")).unwrap());
    assert!(below.contains("is a folder, but /etc/file is a file"), "{below}");
}

#[test]
fn a_node_needs_a_place_of_its_own() {
    let mut tree = RootfsTree::default();
    tree.put("/dev/null".into(), NodeKind::File(Vec::new()), 0o644);
    tree.check_place(Path::new("/dev/zero")).unwrap();
    tree.check_place(Path::new("/zero")).unwrap();
    let error = |path| tree.check_place(Path::new(path)).unwrap_err().to_string();
    assert!(error("/dev/null").contains("in the image already"));
    assert!(error("/dev/null/x").contains("in no folder"));
    assert!(error("/udev/x").contains("/udev/x is in no folder"));
}
