//! What a guest has of its host: its link, and else nothing. This needs a kernel and an image, as the
//! tests of the full guest do, with which `cargo xtask ci` runs it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::full_guest::Shell;

/// A process of the host (proc(5)).
struct Process(PathBuf);

impl Process {
    fn file(&self, name: &str) -> String {
        fs::read(self.0.join(name))
            .map_or_else(|_| String::new(), |text| String::from_utf8_lossy(&text).into_owned())
    }

    fn status(&self, field: &str) -> Vec<String> {
        let text = self.file("status");
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace().map(Into::into).collect()
    }

    fn link(&self, name: &str) -> String {
        let target = fs::read_link(self.0.join(name)).unwrap_or_default();
        target.to_string_lossy().into_owned()
    }

    fn descends_from(&self, ancestor: u32) -> bool {
        match self.status("PPid").first().and_then(|pid| pid.parse::<u32>().ok()) {
            Some(0) | None => false,
            Some(parent) if parent == ancestor => true,
            Some(parent) => of(parent).descends_from(ancestor),
        }
    }

    /// Descriptors, each with what it is, and the numbers of the sockets among them.
    fn descriptors(&self) -> (Vec<String>, BTreeSet<String>) {
        let entries = fs::read_dir(self.0.join("fd")).unwrap().flatten();
        let targets: Vec<String> = entries
            .map(|entry| self.link(&format!("fd/{}", entry.file_name().display())))
            .collect();
        let number =
            |target: &String| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
        let sockets = targets.iter().filter_map(number).collect();
        (targets, sockets)
    }
}

fn of(pid: u32) -> Process {
    Process(Path::new("/proc").join(pid.to_string()))
}

/// The processes of the guest that `ancestor` has started: its kernel and the guest's own.
fn guest_of(ancestor: u32) -> Vec<Process> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    pids.map(of)
        .filter(|process| process.file("cmdline").starts_with("/sys/kernel-"))
        .filter(|process| process.descends_from(ancestor))
        .collect()
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_full_guest_has_nothing_of_its_host_but_its_link() {
    let mut shell = Shell::on_pipes();
    shell.expect("uml login: ");
    let guest = guest_of(shell.pid());
    assert!(guest.len() > 1, "only {} processes of the guest were found", guest.len());
    for process in &guest {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(process.status(set), ["0000000000000000"], "{set}");
        }
        assert_eq!(process.status("NoNewPrivs"), ["1"]);
        assert_eq!(process.status("Seccomp"), ["2"]);
        let root: BTreeSet<String> = fs::read_dir(process.0.join("root"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        let known = ["dev", "etc", "lib", "lib64", "proc", "sys", "usr"].map(String::from);
        assert!(root.is_subset(&BTreeSet::from(known)), "a guest sees {root:?}");
        let id =
            if nix::unistd::geteuid().is_root() { 65534 } else { nix::unistd::geteuid().as_raw() };
        assert_eq!(process.status("Uid"), vec![id.to_string(); 4]);
        assert_eq!(process.link("cwd"), "/sys/0");

        let (descriptors, sockets) = process.descriptors();
        for target in &descriptors {
            let own = ["/sys/0/", "/sys/image-", "/dev/pts/", "anon_inode:", "pipe:", "socket:"];
            let known = ["/dev/null", "/dev/net/tun"].contains(&&**target)
                || own.iter().any(|start| target.starts_with(start));
            assert!(known, "a guest holds {target}");
        }
        // The stage's socket is of the host's network namespace, and would not be listed here.
        let listed = process.file("net/unix");
        let listed: BTreeSet<String> = listed
            .lines()
            .filter_map(|line| line.split_whitespace().nth(6).map(Into::into))
            .collect();
        assert!(sockets.is_subset(&listed), "sockets {sockets:?}, of its own {listed:?}");

        let interfaces: BTreeSet<String> = process
            .file("net/dev")
            .lines()
            .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
            .collect();
        assert_eq!(interfaces, BTreeSet::from(["lo".into(), "tap0".into()]));
        let environment = process.file("environ");
        let names: BTreeSet<&str> =
            environment.split('\0').filter_map(|line| Some(line.split_once('=')?.0)).collect();
        assert_eq!(names, BTreeSet::from(["HOME", "PATH", "TEMP", "TMP", "TMPDIR"]));
        assert!(!environment.contains("/root") && !environment.contains("/home"), "{environment}");
    }
    shell.keys("root\n").expect("Password: ").keys("root\n").expect("# ");
    shell
        .keys("mount -t hostfs none /mnt; echo \"mounted: $?\"\n")
        .expect("unknown filesystem type");
    shell.keys("poweroff\n").ends_with(0);
}
