//! Section 5 of the User Mode Linux Installation Guide, as the guest sees it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use uml_test::TestResult;

/// The lines of a configuration file that say something.
fn lines_of(path: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let lines = text.lines().map(str::trim);
    Ok(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

#[test]
fn fstab_names_the_root() -> TestResult {
    let lines = lines_of("/etc/fstab")?;
    let root: Vec<&str> = lines.first().context("an empty fstab")?.split_whitespace().collect();
    assert_eq!(root[..3], ["/dev/ubd0", "/", "ext4"]);
    Ok(())
}

#[test]
fn the_host_name_is_set() -> TestResult {
    let name = fs::read_to_string("/etc/hostname")?;
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname")?.trim(), name.trim());
    Ok(())
}

#[test]
fn interfaces_bring_up_the_loopback() -> TestResult {
    let lines = lines_of("/etc/network/interfaces")?;
    assert!(lines.contains(&"auto lo".into()) && lines.contains(&"iface lo inet loopback".into()));
    Ok(())
}

#[test]
fn root_may_log_in_on_the_listed_terminals_and_only_there() -> TestResult {
    let terminals = lines_of("/etc/securetty")?;
    for terminal in ["tty0", "ttys/0", "ttyS0"] {
        assert!(terminals.contains(&terminal.into()), "{terminal} is not in {terminals:?}");
    }
    let login = lines_of("/etc/pam.d/login")?;
    assert!(login.iter().any(|line| line.contains("pam_securetty.so")), "securetty is not read");
    Ok(())
}

#[test]
fn there_is_one_getty_on_tty0() -> TestResult {
    let lines = lines_of("/etc/inittab")?;
    let gettys: Vec<&String> = lines.iter().filter(|line| line.contains("getty")).collect();
    assert_eq!(gettys.len(), 1, "{gettys:?}");
    assert!(gettys[0].contains("tty0"), "{gettys:?}");
    Ok(())
}

#[test]
fn there_is_a_resolv_conf() {
    assert!(Path::new("/etc/resolv.conf").is_file());
}

#[test]
fn the_passwords_are_the_documented_ones() -> TestResult {
    for (user, password) in [("root", "root"), ("uml", "uml")] {
        let shadow = lines_of("/etc/shadow")?;
        let line = shadow.iter().find(|line| line.starts_with(&format!("{user}:")));
        let hash = line.and_then(|line| line.split(':').nth(1)).context(user)?.to_owned();
        // perl-base is part of every Debian system, and its crypt is the library's.
        let output = Command::new("perl")
            .args(["-e", "print crypt($ARGV[0], $ARGV[1])", password, &hash])
            .output()?;
        assert_eq!(String::from_utf8_lossy(&output.stdout), hash, "the password of {user}");
    }
    Ok(())
}

#[test]
fn the_user_of_the_guide_has_a_home() -> TestResult {
    let passwd = lines_of("/etc/passwd")?;
    let line = passwd.iter().find(|line| line.starts_with("uml:")).context("no user uml")?;
    let home = line.split(':').nth(5).context("no home")?;
    assert!(Path::new(home).is_dir(), "{home} is not there");
    Ok(())
}

#[test]
fn owners_and_modes_survived_the_making_of_the_image() -> TestResult {
    use std::os::unix::fs::MetadataExt as _;
    // An image is made without privilege; these are the kinds of things that are lost that way.
    for (path, uid, gid, mode) in [
        ("/usr/bin/su", 0, 0, 0o4755),
        ("/etc/shadow", 0, 42, 0o640),
        ("/home/uml", 1000, 1000, 0o755),
        ("/tmp", 0, 0, 0o1777),
        ("/usr/bin/chage", 0, 42, 0o2755),
    ] {
        let meta = fs::metadata(path)?;
        let found = (meta.uid(), meta.gid(), meta.mode() & 0o7777);
        assert_eq!(found, (uid, gid, mode), "{path}");
    }
    Ok(())
}
