//! Workspaces of others, with what can be wrong in them: what xtask says of it, and with which exit code.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::support::exe;

const TABLE: &str = r#"
[workspace.metadata.uml]
kernel = ["mine"]
[workspace.metadata.uml.rootfs]
suite = "bookworm"
[workspace.metadata.uml.tests]
package = "guest-tests"
features = []
[workspace.metadata.uml.kernels.mine]
debian = { suite = "bookworm", package = "linux-source-6.1" }
fragments = ["uml"]
"#;

/// A workspace with one package, whose test targets are these.
struct Workspace {
    dir: tempfile::TempDir,
}

impl Workspace {
    fn new(tests: &[(&str, &str)]) -> Self {
        let workspace = Self { dir: tempfile::tempdir().unwrap() };
        let root = format!(
            "[workspace]\nmembers = [\"guest-tests\"]\n[profile.guest]\ninherits = \"dev\"\n{TABLE}"
        );
        workspace.write("Cargo.toml", &root);
        workspace.write(
            "guest-tests/Cargo.toml",
            "[package]\nname = \"guest-tests\"\nedition = \"2024\"\n",
        );
        workspace.write("guest-tests/src/lib.rs", "");
        for (name, text) in tests {
            workspace.write(&format!("guest-tests/tests/{name}.rs"), text);
        }
        workspace
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes the workspace's own table.
    fn replace(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("Cargo.toml")).unwrap();
        assert!(text.contains(from), "{text}");
        self.write("Cargo.toml", &text.replace(from, to));
    }

    /// The exit code, and what was written to standard output and standard error.
    fn xtask(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(exe())
            .args(args)
            // As `cargo run` sets it.
            .env("CARGO_MANIFEST_DIR", self.path("guest-tests"))
            .env("CARGO_TARGET_DIR", self.path("target"))
            .env("UML_CACHE_DIR", self.path("cache"))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// What is said when the set-up fails.
    fn refusal(&self, args: &[&str]) -> String {
        let (code, _, said) = self.xtask(args);
        assert_eq!(code, Some(96), "{said}");
        said
    }
}

#[test]
fn tests_that_do_not_compile_are_cargos_to_explain() {
    let workspace = Workspace::new(&[("broken", "#[test]\nfn a() { no_such_function() }\n")]);
    let (code, listed, said) = workspace.xtask(&["test-in-uml", "--list"]);
    assert_eq!(code, Some(101), "{said}");
    assert_eq!(listed, "");
    assert!(said.contains("error[E0425]") && said.contains("tests/broken.rs:2"), "{said}");
}

#[test]
fn cases_of_the_same_name_are_told_apart_by_their_binaries() {
    let text = "#[test]\nfn same() {}\nmod area {\n#[test]\nfn same() {}\n}\n";
    let workspace = Workspace::new(&[("one", text), ("two", text), ("empty", "")]);
    let (code, listed, said) = workspace.xtask(&["test-in-uml", "--list"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(listed, "one area::same\none same\ntwo area::same\ntwo same\n");
    let (_, listed, _) = workspace.xtask(&["test-in-uml", "--list", "two same"]);
    assert_eq!(listed, "two same\n");
}

#[test]
fn a_workspace_without_any_case_is_no_error_to_list() {
    let workspace = Workspace::new(&[("empty", "")]);
    assert_eq!(workspace.xtask(&["test-in-uml", "--list"]).0, Some(0));
}

#[test]
fn a_binary_that_lists_something_else_is_named() {
    let workspace = Workspace::new(&[]);
    let own = "[package]\nname = \"guest-tests\"\nedition = \"2024\"\n\
               [[test]]\nname = \"own\"\nharness = false\n";
    workspace.write("guest-tests/Cargo.toml", own);
    workspace.write("guest-tests/tests/own.rs", "fn main() { println!(\"all is well\") }");
    let said = workspace.refusal(&["test-in-uml", "--list"]);
    assert!(said.contains("own-") && said.contains("`all is well` is not a case"), "{said}");
}

#[test]
fn what_the_workspace_does_not_have_is_named() {
    let workspace = Workspace::new(&[]);
    workspace.replace("package = \"guest-tests\"", "package = \"guest-test\"");
    let said = workspace.refusal(&["test-in-uml", "--list"]);
    assert!(said.contains("tests.package: the workspace has no package `guest-test`"), "{said}");
    assert!(said.contains("did you mean `guest-tests`?"), "{said}");

    let workspace = Workspace::new(&[]);
    let said = workspace.refusal(&["test-in-uml", "--module", "/no/such/module"]);
    assert!(said.contains("--module: /no/such/module: No such file"), "{said}");
    workspace.replace("kernel = [\"mine\"]", "kernel = [\"mine\"]\nmodules = [\"../driver\"]");
    let said = workspace.refusal(&["test-in-uml"]);
    assert!(said.contains("modules of the configuration") && said.contains("../driver"), "{said}");
}

#[test]
fn what_no_host_can_give_is_refused_before_anything_is_built() {
    let workspace = Workspace::new(&[]);
    workspace.replace("kernel = [\"mine\"]", "kernel = [\"mine\"]\nmemory = \"1024G\"");
    let said = workspace.refusal(&["test-in-uml"]);
    assert!(said.contains("memory: a guest of 1024G does not fit into this host"), "{said}");
    assert!(!workspace.path("target").exists(), "something was built");
}

#[test]
fn a_configuration_that_is_not_there_or_wrong_is_named() {
    let workspace = Workspace::new(&[]);
    workspace.replace("suite = \"bookworm\"\n[", "suite = \"../x\"\n[");
    let said = workspace.refusal(&["doctor"]);
    assert!(said.contains("workspace.metadata.uml.rootfs: suite: `../x` is not a name"), "{said}");
    workspace.write("Cargo.toml", "[workspace]\nmembers = [\"guest-tests\"]\n");
    let said = workspace.refusal(&["doctor"]);
    assert!(said.contains("no [workspace.metadata.uml] table"), "{said}");
    workspace.write("Cargo.toml", "[workspace]\nmembers = [\"guest-tests\"\n");
    let said = workspace.refusal(&["doctor"]);
    assert!(said.contains("cannot read the workspace") && said.contains("Cargo.toml"), "{said}");
}
