//! Guest tests that are run on the host, by whoever does not know: nothing of them runs there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A test that harms the host: it and its constructor write a file.
const HARM: &str = "
fn harm(what: &str) {
    std::fs::write(std::env::var(\"PROOF\").unwrap(), what).unwrap();
}
#[used]
#[unsafe(link_section = \".init_array\")]
static BEFORE_MAIN: extern \"C\" fn() = before_main;
extern \"C\" fn before_main() {
    harm(\"a constructor\");
}
#[test]
fn a_case() {
    harm(\"a test\");
}
";

/// This project's guest tests with others in the place of its own.
struct GuestTests(PathBuf);

impl GuestTests {
    fn with(tests: &[(&str, &str)]) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        // The same each time, so that what they depend on is built once.
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guard");
        let _ = fs::remove_dir_all(root.join("guest-tests/tests"));
        for folder in
            ["crates/uml-agent", "crates/uml-protocol", "crates/uml-test", "guest-tests/src"]
        {
            copy(&source.join(folder), &root.join(folder));
        }
        fs::copy(source.join("guest-tests/build.rs"), root.join("guest-tests/build.rs")).unwrap();
        fs::copy(source.join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
        let manifest = fs::read_to_string(source.join("Cargo.toml")).unwrap();
        let manifest = manifest
            .replace(", \"xtask\"]", "]")
            .replace("default-members = [\"crates/test-in-uml\", ", "default-members = [");
        fs::write(root.join("Cargo.toml"), manifest).unwrap();
        let manifest = fs::read_to_string(source.join("guest-tests/Cargo.toml")).unwrap();
        // A new file is found by cargo, and needs no feature.
        let (before, rest) = manifest.split_once("[[test]]").unwrap();
        let lints = rest.split_once("[lints]").unwrap().1;
        fs::write(root.join("guest-tests/Cargo.toml"), format!("{before}[lints]{lints}")).unwrap();
        fs::create_dir_all(root.join("guest-tests/tests")).unwrap();
        for (name, text) in tests {
            let path = root.join(format!("guest-tests/tests/{name}.rs"));
            fs::write(path, format!("{text}{HARM}")).unwrap();
        }
        Self(root)
    }

    fn proof(&self) -> PathBuf {
        self.0.join("proof")
    }

    /// Whether `cargo test` was content, and all that it said.
    fn cargo_test(&self, args: &[&str], env: &[(&str, &str)]) -> (bool, String) {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["test", "--offline", "--workspace", "--all-features", "--test", "*"])
            .args(args)
            .current_dir(&self.0)
            .env("CARGO_TARGET_DIR", self.0.join("target"))
            .env("PROOF", self.proof())
            .envs(env.iter().copied())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let place = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(place).unwrap();
        } else {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}

#[test]
fn no_guest_test_runs_on_the_host() {
    let guarded = GuestTests::with(&[("guarded", "use uml_test as _;\n")]);
    let refused = "guest tests run only inside a guest: use `cargo xtask test-in-uml`";
    for (args, env) in [
        (&[][..], &[][..]),
        (&["--", "--list"], &[]),
        (&["--", "--help"], &[]),
        (&[], &[("UML_GUEST", "1")]),
        (&["--", "--list"], &[("UML_LISTING", "1")]),
    ] {
        let (green, said) = guarded.cargo_test(args, env);
        assert!(green && said.contains(refused), "{said}");
        assert!(!said.contains("a_case"), "{said}");
        assert!(!guarded.proof().exists(), "{args:?} {env:?}");
    }
    let unguarded = GuestTests::with(&[("unguarded", "")]);
    let (green, said) = unguarded.cargo_test(&[], &[]);
    assert!(!green && said.contains("each_test_file_begins_with__use_uml_test_as"), "{said}");
    assert!(!unguarded.proof().exists());
}
