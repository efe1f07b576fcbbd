//! The store and the work folders under several runs at once: real command lines, and a `make` that
//! takes no minutes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use test_in_uml::cancel::CancelToken;
use test_in_uml::store::{Kind, Store};

use super::support::{eventually, xtask};

/// Configures as it is told, and then waits for `go` before it has built. It fails when it is called
/// while another of its kind is at work.
const MAKE: &str = r#"#!/bin/sh
set -e
for argument; do
    case "$argument" in
    O=*) build=${argument#O=} ;;
    KCONFIG_ALLCONFIG=*) requested=${argument#*=} ;;
    esac
done
if [ -n "$requested" ]; then
    cat "$requested" HERE/comments >"$build/.config"
    exit
fi
mkdir HERE/building
echo once >>HERE/builds
while [ ! -e HERE/go ]; do sleep 0.02; done
mkdir -p "$build/include/config"
echo 7.3.0 >"$build/include/config/kernel.release"
cp /bin/true "$build/linux"
rmdir HERE/building
"#;

/// The kernel that it makes.
pub const KERNEL: &str = "7.3";

/// A host with a cache, a source that is a kernel's as far as we look, and that make.
pub struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    pub fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap() };
        let source = host.path("linux");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("Makefile"), "VERSION = 7\nPATCHLEVEL = 3\n").unwrap();
        fs::write(source.join("Kconfig"), kconfig()).unwrap();
        write_patched(&source);
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(host.dir.path()).arg("-cf").arg(host.path("linux.tar")).arg("linux");
        assert!(tar.status().unwrap().success());
        fs::write(host.path("comments"), "").unwrap();
        let make = host.path("bin/make");
        fs::create_dir(host.path("bin")).unwrap();
        fs::write(&make, MAKE.replace("HERE", host.dir.path().to_str().unwrap())).unwrap();
        fs::set_permissions(&make, fs::Permissions::from_mode(0o755)).unwrap();
        host
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `cargo xtask` in a checkout of that name.
    pub fn xtask(&self, checkout: &str, args: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = xtask();
        command
            .args(args)
            .env("UML_CACHE_DIR", self.path("cache"))
            .env("CARGO_TARGET_DIR", self.path(checkout))
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `cargo xtask kernel` there.
    pub fn kernel(&self, checkout: &str) -> Command {
        let archive = self.path("linux.tar");
        let args = ["kernel", "--kernel", KERNEL, "--tarball", archive.to_str().unwrap()];
        self.xtask(checkout, &args)
    }

    fn start(&self, checkout: &str) -> Child {
        self.kernel(checkout).spawn().unwrap()
    }

    /// Lets builds go on to their end.
    pub fn go(&self) {
        fs::write(self.path("go"), "").unwrap();
    }

    pub fn builds(&self) -> usize {
        fs::read_to_string(self.path("builds")).map_or(0, |text| text.lines().count())
    }
}

/// Writes what the kernel's patches fit: of each of their files, what they expect there.
fn write_patched(source: &Path) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel-patches/linux-6.1");
    for patch in fs::read_dir(dir).unwrap().flatten() {
        let patch = fs::read_to_string(patch.path()).unwrap();
        let mut lines = patch.lines().skip_while(|line| !line.starts_with("+++ b/"));
        let file = lines.next().unwrap().trim_start_matches("+++ b/");
        let expected = lines.filter_map(|line| line.strip_prefix([' ', '-']));
        let text: String = expected.map(|line| format!("{line}\n")).collect();
        let path = source.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(!path.exists(), "two patches of one file");
        fs::write(path, text).unwrap();
    }
}

/// Every symbol that a fragment of ours asks for.
fn kconfig() -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kconfig");
    let mut symbols = std::collections::BTreeSet::from(["HOSTFS".to_owned()]);
    for file in fs::read_dir(dir).unwrap().flatten() {
        let text = fs::read_to_string(file.path()).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        symbols.extend(words.filter_map(|word| Some(word.strip_prefix("CONFIG_")?.to_owned())));
    }
    symbols.iter().map(|symbol| format!("config {symbol}\n\tbool \"{symbol}\"\n")).collect()
}

pub fn says(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn eight_runs_of_two_checkouts_build_a_kernel_once() {
    let host = Host::new();
    let runs: Vec<Child> =
        ["one", "two"].into_iter().cycle().take(8).map(|checkout| host.start(checkout)).collect();
    eventually("a build", || host.builds() > 0);
    host.go();
    let outputs: Vec<Output> =
        runs.into_iter().map(|run| run.wait_with_output().unwrap()).collect();
    for output in &outputs {
        assert!(output.status.success(), "{}", says(output));
        assert_eq!(output.stdout, outputs[0].stdout);
    }
    assert_eq!(host.builds(), 1);
}

#[test]
fn what_a_build_uses_is_not_cleaned() {
    let host = Host::new();
    let run = host.start("checkout");
    eventually("a build", || host.builds() > 0);
    let clean = |args: &[&str]| {
        let output = host.xtask("checkout", &[&["clean"], args].concat()).output().unwrap();
        assert!(output.status.success(), "{}", says(&output));
        says(&output)
    };
    for args in [&[][..], &["--store"], &["--older-than", "0"]] {
        let said = clean(args);
        let other = said.contains("another run of this checkout goes on");
        assert_eq!(other, args != ["--older-than", "0"], "{said}");
        let config = host.path("checkout/uml/kernels").join(KERNEL).join("build/.config");
        assert!(config.exists(), "{args:?}");
    }
    host.go();
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", says(&output));
    let linux = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end());
    clean(&[]);
    assert!(linux.exists() && !host.path("checkout/uml/kernels").exists());
    clean(&["--store"]);
    assert!(!linux.exists());
}

#[test]
fn an_entry_and_the_state_of_apt_that_are_used_are_not_cleaned() {
    let host = Host::new();
    let store = Store::open(host.path("cache/store")).unwrap();
    let fill = |dir: &Path| Ok(fs::write(dir.join("data"), "x")?);
    let used = store.get_or_build(&CancelToken::default(), Kind::Image, &"used", fill).unwrap();
    let unused = store
        .get_or_build(&CancelToken::default(), Kind::Image, &"unused", fill)
        .unwrap()
        .file("data");
    let apt = |suite: &str| host.path("cache/apt").join(suite);
    for suite in ["used", "unused"] {
        fs::create_dir_all(apt(suite)).unwrap();
    }
    let lock = store.try_request(Kind::Download, &("apt", "used")).unwrap().unwrap();
    for args in [["clean", "--older-than", "0"].as_slice(), &["clean", "--store"]] {
        let output = host.xtask("checkout", args).output().unwrap();
        assert!(output.status.success(), "{}", says(&output));
        assert!(used.file("data").exists() && !unused.exists(), "{args:?}");
    }
    assert!(apt("used").exists() && !apt("unused").exists());
    drop((lock, used));
    assert!(host.xtask("checkout", &["clean", "--store"]).status().unwrap().success());
    assert!(!apt("used").exists());
    assert_eq!(fs::read_dir(host.path("cache/store/image")).unwrap().count(), 0);
}

#[test]
fn a_damaged_kernel_is_built_again() {
    let host = Host::new();
    host.go();
    let build = || {
        let output = host.kernel("checkout").output().unwrap();
        assert!(output.status.success(), "{}", says(&output));
        let path = PathBuf::from(String::from_utf8(output.stdout.clone()).unwrap().trim_end());
        (path, says(&output))
    };
    let linux = build().0;
    assert!(!build().1.contains("damaged"));
    fs::set_permissions(&linux, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&linux, "not a kernel").unwrap();
    let (again, said) = build();
    assert_eq!((&again, host.builds()), (&linux, 2));
    assert_eq!(said.matches("linux was altered").count(), 1, "{said}");
    assert!(fs::read(linux).unwrap().starts_with(b"\x7fELF"));
}
