//! Searches through a tree's history: what is said of ends that cannot be.

use std::process::Command;

use super::workspace::Workspace;

#[test]
fn ends_that_are_none_are_named_before_anything_is_built() {
    let workspace = Workspace::new(&[("one", "#[test]\nfn passes() {}\n")]);
    let tree = tempfile::tempdir().unwrap();
    let bisect = |good: &str, bad: &str| {
        let tree = tree.path().to_str().unwrap();
        let args = ["bisect", "--good", good, "--bad", bad, "--tree", tree, "passes"];
        let (code, _, said) = workspace.xtask(&args);
        assert_eq!(code, Some(2), "{said}");
        said
    };
    assert!(bisect("HEAD~1", "HEAD").contains("is no tree in git"));
    let commit = "git init -q && for n in 1 2; do git -c user.name=a -c user.email=a@example.org \
                  commit -q --allow-empty -m $n; done";
    let made = Command::new("sh").args(["-ec", commit]).current_dir(&tree).status().unwrap();
    assert!(made.success());
    assert!(bisect("v6.12", "HEAD").contains("has no revision `v6.12`"));
    assert!(bisect("HEAD", "HEAD~1").contains("HEAD did not come before HEAD~1"));
    let (code, _, said) = workspace.xtask(&["bisect", "--good", "a", "--bad", "b", "passes"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--tree"), "{said}");
}

#[test]
fn a_run_that_no_commit_can_change_ends_the_search() {
    let workspace = Workspace::new(&[("one", "#[test]\nfn passes() {}\n")]);
    for (args, says) in [
        (&["no_such_case"][..], "there is no such case"),
        (&["--suite", "nothing"], "no suite `nothing`"),
        (&["--tree", "/nowhere"], "no tree at /nowhere"),
    ] {
        let (code, _, said) = workspace.xtask(&[&["test-in-uml", "--bisect-exit"], args].concat());
        assert_eq!(code, Some(128), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
