//! Kernel trees of the user's own, and the patches in the repository, as far as they go without a
//! kernel's source.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::xtask;
use super::workspace::Workspace;

/// A folder that is a kernel tree as far as its Makefile says.
fn tree(dir: &Path) -> PathBuf {
    let tree = dir.join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("Makefile"), "VERSION = 3\nPATCHLEVEL = 0\n").unwrap();
    tree
}

/// What `cargo xtask kernel --kernel 3.0` says of it.
fn refusal(cache: &Path, options: &[&str]) -> String {
    let output = xtask()
        .args(["kernel", "--kernel", "3.0"])
        .args(options)
        .env("UML_CACHE_DIR", cache)
        .output()
        .unwrap();
    assert!(matches!(output.status.code(), Some(2 | 96)), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn of_tree(cache: &Path, tree: &Path) -> String {
    refusal(cache, &["--tree", tree.to_str().unwrap()])
}

#[test]
fn a_tree_that_cannot_be_used_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let error = of_tree(dir.path(), &dir.path().join("missing"));
    assert!(error.contains("no tree at") && error.contains("missing"), "{error}");
    let error = of_tree(dir.path(), dir.path());
    assert!(error.contains("is not a kernel tree"), "{error}");
    let odd = dir.path().join("a tree");
    fs::create_dir(&odd).unwrap();
    let error = of_tree(dir.path(), &odd);
    assert!(error.contains("make cannot use") && error.contains("a tree"), "{error}");
    let tree = tree(dir.path());
    fs::write(tree.join(".config"), "").unwrap();
    let error = of_tree(dir.path(), &tree);
    assert!(error.contains("built in place") && error.contains("mrproper"), "{error}");
}

#[test]
fn a_patch_that_does_not_fit_is_named_with_file_and_hunk() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(dir.path());
    let file = tree.join("arch/um/include/shared/init.h");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "something else\n".repeat(100)).unwrap();
    let error = of_tree(dir.path(), &tree);
    assert!(error.contains("0001-") && error.contains("shared/init.h: hunk 1, line"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "something else\n".repeat(100));
}

#[test]
fn one_tree_cannot_be_two_kernels() {
    let dir = tempfile::tempdir().unwrap();
    let error = refusal(dir.path(), &["--kernel", "6.12", "--tree", "/"]);
    assert!(error.contains("say which, as in `3.0=/`"), "{error}");
    let error = refusal(dir.path(), &["--tree", "3.0=/", "--tarball", "/dev/null"]);
    assert!(error.contains("kernel 3.0 is given two sources"), "{error}");
}

#[test]
fn each_kernel_has_the_tree_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let (there, missing) = (tree(dir.path()), dir.path().join("6.12=missing"));
    let (there, missing) = (there.display(), missing.display());
    let of_two = [format!("3.0={there}"), format!("6.12={missing}")];
    let error = refusal(dir.path(), &["--tree", &of_two[0], "--tree", &of_two[1]]);
    assert!(error.contains(&format!("no tree at {missing}")), "{error}");
    // A path may look like a name and a path.
    let error = refusal(dir.path(), &["--tree", &format!("mine={there}")]);
    assert!(error.contains(&format!("no tree at mine={there}")), "{error}");
}

#[test]
fn a_tree_of_the_configuration_is_looked_for_from_the_workspaces_root() {
    let workspace = Workspace::new(&[]);
    let source = r#"debian = { suite = "bookworm", package = "linux-source-6.1" }"#;
    workspace.replace(source, r#"tree = "own/linux""#);
    let (code, _, error) = workspace.xtask(&["kernel"]);
    assert!(code == Some(96) && error.contains("no tree at"), "{error}");
    workspace.write("own/linux/Makefile", "VERSION = 6\nPATCHLEVEL = 1\n");
    workspace.write("own/linux/.config", "");
    let (code, _, error) = workspace.xtask(&["kernel"]);
    assert!(code == Some(96) && error.contains("own/linux was built in place"), "{error}");
    for fetch in [&["fetch"][..], &["fetch", "--kernel", "mine"]] {
        let (code, path, error) = workspace.xtask(fetch);
        assert!(code == Some(0) && path.trim().ends_with("own/linux"), "{path} {error}");
    }
}

#[test]
fn an_archive_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("linux.tar.xz");
    fs::write(&archive, "<html>").unwrap();
    let error = refusal(dir.path(), &["--tarball", archive.to_str().unwrap()]);
    assert!(error.contains("linux.tar.xz") && error.contains("not a tar archive"), "{error}");
    assert!(error.contains("none of the pinned archives"), "{error}");
}

/// Whether the lines of each hunk are as many as its head says.
fn check_hunks(text: &str) -> Result<usize, String> {
    let mut changed = 0;
    let mut lines = text.lines().skip_while(|line| !line.starts_with("--- ")).peekable();
    while let Some(line) = lines.next() {
        let Some(head) = line.strip_prefix("@@ -") else { continue };
        let ranges = head.split(" @@").next().unwrap_or_default();
        let count = |range: &str| range.split(',').nth(1).map_or(1, |count| count.parse().unwrap());
        let (old, new) = ranges.split_once(" +").ok_or(line)?;
        let (mut old, mut new) = (count(old), count(new));
        while old + new > 0 {
            match lines.next().and_then(|line| line.bytes().next()) {
                Some(b' ') | None => (old, new) = (old - 1, new - 1),
                Some(b'-') => (old, changed) = (old - 1, changed + 1),
                Some(b'+') => (new, changed) = (new - 1, changed + 1),
                Some(_) => return Err(format!("`{line}` has fewer lines than it says")),
            }
        }
        if lines.peek().is_some_and(|line| line.starts_with([' ', '+']) && *line != "-- ") {
            return Err(format!("`{line}` has more lines than it says"));
        }
    }
    Ok(changed)
}

#[test]
fn the_patches_are_in_kernel_style_and_small() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel-patches/linux-3.0");
    let mut changed = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (head, _) = text.split_once("\n---\n").expect("a patch has a message and a diff");
        let (subject, why) = head.split_once("\n\n").expect("a message says why");
        assert!(subject.contains("Subject: [PATCH] "), "{}", path.display());
        assert!(why.lines().count() > 2 && why.contains("pstream"), "{}", path.display());
        changed += check_hunks(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    assert!((1..430).contains(&changed), "{changed} changed lines");
}
