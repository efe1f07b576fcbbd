//! Repositories of somebody's, which get what they need by `init`, and run their tests in guests.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::support::exe;

/// A repository that tells nothing of this workspace.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let git = Command::new("git").args(["init", "--quiet"]).arg(dir.path()).status();
        assert!(git.is_ok_and(|status| status.success()), "git is needed");
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
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
    // What the engine was built with is there; a user's cargo resolves it.
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    fs::copy(lock, repository.path().join("Cargo.lock")).unwrap();
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
