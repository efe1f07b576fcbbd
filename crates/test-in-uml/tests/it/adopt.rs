//! Repositories of somebody's, which get what they need by `init`, and run their tests in guests.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::support::exe;

/// They share a target directory, so that the engine is built once, and with it the latest run.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A repository that tells nothing of this workspace.
struct Repository {
    dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Repository {
    fn new() -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let git = Command::new("git").args(["init", "--quiet"]).arg(dir.path()).status();
        assert!(git.is_ok_and(|status| status.success()), "git is needed");
        Self { dir, _alone: alone }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn init(&self, args: &[&str]) -> Output {
        Command::new(exe()).arg("init").arg(self.path()).args(args).output().unwrap()
    }

    /// The commands that a user of it types.
    fn xtask(&self, args: &[&str]) -> Output {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let mut command = Command::new(cargo);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO")) {
            command.env_remove(name);
        }
        command
            .arg("xtask")
            .args(args)
            .current_dir(self.path())
            // The engine is built once for all of them, and as quickly as here.
            .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("adopters"))
            .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
            .output()
            .unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Has the versions of what the engine was built with; a user's cargo resolves them.
    fn take_versions(&self) {
        let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
        fs::copy(lock, self.path().join("Cargo.lock")).unwrap();
    }
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

fn assert_success(output: &Output) -> String {
    let said = said(output);
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn what_is_in_the_way_is_named_and_left() {
    let repository = Repository::new();
    assert_success(&repository.init(&[]));
    let again = repository.init(&[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(said(&again).contains("xtask/src/main.rs"), "{}", said(&again));
}

#[test]
#[ignore = "builds the engine for others, and needs an image and a kernel"]
fn a_driver_is_tested_from_its_own_repository() {
    let repository = Repository::new();
    assert_success(&repository.init(&["--module", "driver", "--ci", "github"]));
    repository.take_versions();
    let ran = assert_success(&repository.xtask(&["test-in-uml", "--kernel", "6.12"]));
    assert!(ran.contains("the_module_is_loaded_and_unloaded"), "{ran}");
    assert!(ran.contains("1 passed, 0 failed"), "{ran}");

    // What the repository has of its own goes before what the engine has.
    let own = "CONFIG_MD=y\n";
    fs::create_dir(repository.path().join("kconfig")).unwrap();
    fs::write(repository.path().join("kconfig/nfs.config"), own).unwrap();
    let shown = assert_success(&repository.xtask(&["config"]));
    let whose = |name: &str| {
        let line = shown.lines().find(|line| line.ends_with(name));
        line.unwrap_or_else(|| panic!("{name}: {shown}")).to_owned()
    };
    assert!(whose("/kconfig/nfs.config").contains("workspace"), "{shown}");
    assert!(whose("/kconfig/uml.config").contains("engine"), "{shown}");

    // A test that fails is seen, whatever the repository is.
    let test = repository.path().join("guest-tests/tests/first.rs");
    fs::write(&test, "use uml_test as _;\n#[test]\nfn fails() { panic!() }\n").unwrap();
    fs::remove_dir_all(repository.path().join("kconfig")).unwrap();
    let failed = repository.xtask(&["test-in-uml", "--kernel", "6.12"]);
    assert_eq!(failed.status.code(), Some(100), "{}", said(&failed));
}

/// Tests that pass under `cargo test` too.
const INTEGRATION: &str = r#"
use std::{env, fs, process::Command};

#[test]
fn changes_a_file_of_its_package() {
    fs::write("data/text", "of a test").unwrap();
}

#[test]
fn finds_the_files_of_its_package() {
    assert_eq!(fs::read_to_string("data/text").unwrap(), "of the package\n");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert!(fs::read_to_string(manifest).unwrap().contains("published"));
    assert_eq!(env::current_dir().unwrap().to_str(), Some(env!("CARGO_MANIFEST_DIR")));
    assert_eq!(env::var("CARGO_MANIFEST_DIR").unwrap(), env!("CARGO_MANIFEST_DIR"));
    fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/written"), "text").unwrap();
}

#[test]
fn starts_the_program_of_its_package() {
    let ran = Command::new(env!("CARGO_BIN_EXE_published")).output().unwrap();
    assert_eq!(ran.stdout, b"the program\n");
}
"#;

#[test]
#[ignore = "builds the engine for others, and needs an image and a kernel"]
fn a_library_is_tested_from_its_own_repository() {
    let repository = Repository::new();
    let manifest = "[package]\nname = \"published\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\
                    [[test]]\nname = \"whole\"\nharness = false\n";
    repository.write("Cargo.toml", manifest);
    let library = "#[test]\nfn unit() {\n    // PID 1 of a guest is the agent.\n    \
                   let init = std::fs::read_to_string(\"/proc/1/comm\").unwrap();\n    \
                   assert_eq!(init, \"uml-agent\\n\");\n}\n";
    repository.write("src/lib.rs", library);
    repository.write("tests/integration.rs", INTEGRATION);
    repository.write("src/main.rs", "fn main() { println!(\"the program\") }\n");
    repository.write("data/text", "of the package\n");
    // It ends well without a word of libtest's, and does its work in a guest only.
    let whole = "fn main() {\n    let info = std::fs::read_to_string(\"/proc/cpuinfo\").unwrap();\n    \
                 assert!(info.contains(\"User Mode Linux\"));\n}\n";
    repository.write("tests/whole.rs", whole);
    assert_success(&repository.init(&[]));
    repository.take_versions();
    let run = ["test-in-uml", "--kernel", "6.12", "--no-fail-fast", "-p", "published"];
    let ran = assert_success(&repository.xtask(&run));
    for case in [
        "published unit",
        "integration changes_a_file_of_its_package",
        "integration finds_the_files_of_its_package",
        "integration starts_the_program_of_its_package",
        "whole main",
    ] {
        assert!(ran.contains(&format!("6.12 {case}\n")), "{case}: {ran}");
    }
    assert!(ran.contains("5 passed, 0 failed"), "{ran}");
    let changed = ran.lines().find(|line| line.contains("left behind")).unwrap_or_default();
    assert!(changed.ends_with("/data/text, a file of the package (changed)"), "{ran}");

    // What fails is seen, of every kind.
    repository.write("src/lib.rs", "#[test]\nfn unit() { panic!() }\n");
    repository.write("tests/whole.rs", "fn main() { std::process::exit(3) }\n");
    let failed = repository.xtask(&run);
    let said = said(&failed);
    assert_eq!(failed.status.code(), Some(100), "{said}");
    assert!(said.contains("6.12 whole main: exit code 3"), "{said}");
    assert!(said.contains("3 passed, 2 failed"), "{said}");
    assert!(
        said.contains("again cargo xtask test-in-uml --last-failed --package published"),
        "{said}"
    );
}

#[test]
#[ignore = "builds the engine for others, and needs an image and a kernel"]
fn two_packages_are_tested_from_their_own_repository() {
    let repository = Repository::new();
    let root = "[workspace]\nresolver = \"3\"\nmembers = [\"one\", \"two\"]\n\
                [workspace.metadata.uml.tests]\npackages = [\"one\", \"two\"]\n";
    repository.write("Cargo.toml", root);
    for (name, test) in
        [("one", "fn passes() {}"), ("two", "fn passes() {}\n#[test]\nfn fails() { panic!() }")]
    {
        let manifest = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
        repository.write(&format!("{name}/Cargo.toml"), &manifest);
        repository.write(&format!("{name}/src/lib.rs"), "");
        repository.write(&format!("{name}/tests/same.rs"), &format!("#[test]\n{test}\n"));
    }
    assert_success(&repository.init(&[]));
    repository.take_versions();
    let ran = repository.xtask(&["test-in-uml", "--kernel", "6.12", "--no-fail-fast"]);
    let first = said(&ran);
    assert_eq!(ran.status.code(), Some(100), "{first}");
    for line in [
        "6.12 one::same passes\n",
        "6.12 two::same passes\n",
        "6.12 two::same fails: exit code 101\n",
    ] {
        assert!(first.contains(line), "{line}: {first}");
    }
    // What has failed is run again, and by the name that it has everywhere.
    let again = repository.xtask(&["test-in-uml", "--last-failed", "-p", "two"]);
    let said = said(&again);
    assert_eq!(again.status.code(), Some(100), "{said}");
    assert!(said.contains("two::same fails") && said.contains("0 passed, 1 failed"), "{said}");
}
