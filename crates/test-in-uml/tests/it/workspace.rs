//! A small workspace of somebody's, for xtask to be run in.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use sha2::{Digest as _, Sha256};
use test_in_uml::store::hex;

use super::support::xtask;

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

/// A workspace with one package of tests.
pub struct Workspace {
    dir: tempfile::TempDir,
}

impl Workspace {
    /// One whose test targets are these, each with its text.
    pub fn new(tests: &[(&str, &str)]) -> Self {
        let workspace = Self { dir: tempfile::tempdir().unwrap() };
        let root = format!("[workspace]\nmembers = [\"guest-tests\"]\n{TABLE}");
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

    /// Writes a file of it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Where a file of it is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes the workspace's own table.
    pub fn replace(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("Cargo.toml")).unwrap();
        assert!(text.contains(from), "{text}");
        self.write("Cargo.toml", &text.replace(from, to));
    }

    /// Has its kernel come from this URL, with this contents.
    pub fn takes_tarball(&self, url: &str, contents: &[u8]) {
        let sha256 = hex(&Sha256::digest(contents));
        let tarballs = format!("tarballs = [{{ url = \"{url}\", sha256 = \"{sha256}\" }}]");
        self.replace(r#"debian = { suite = "bookworm", package = "linux-source-6.1" }"#, &tarballs);
    }

    /// The exit code, and what was written to standard output and standard error.
    pub fn xtask(&self, args: &[&str]) -> (Option<i32>, String, String) {
        self.xtask_with(args, &[])
    }

    /// The same with variables of the environment.
    pub fn xtask_with(
        &self,
        args: &[&str],
        vars: &[(&str, &str)],
    ) -> (Option<i32>, String, String) {
        let output = self.command(args).envs(vars.iter().copied()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// xtask in this workspace, with nothing in the environment that leads elsewhere.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = xtask();
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command
            .args(args)
            // As `cargo run` sets it.
            .env("CARGO_MANIFEST_DIR", self.path("guest-tests"))
            .env("CARGO_TARGET_DIR", self.path("target"))
            .env("UML_CACHE_DIR", self.path("cache"));
        command
    }

    /// What is said when the set-up fails.
    pub fn refusal(&self, args: &[&str]) -> String {
        self.ends_with(96, args)
    }

    /// What is said when the command line asks for what cannot be.
    pub fn usage_error(&self, args: &[&str]) -> String {
        self.ends_with(2, args)
    }

    fn ends_with(&self, code: i32, args: &[&str]) -> String {
        let (ended, _, said) = self.xtask(args);
        assert_eq!(ended, Some(code), "{said}");
        said
    }
}
