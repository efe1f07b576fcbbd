//! Suites of programs in workspaces of others: what is listed of them, and what is said of one that is wrong. What comes of
//! their cases the project's own suites show, which `cargo xtask ci` runs.

use std::os::unix::fs::PermissionsExt;

use super::workspace::Workspace;

const LIST: &[&str] = &["test-in-uml", "--list"];

/// A workspace with a Rust test and a suite of this configuration in the folder `checks`.
fn with_suite(configuration: &str, files: &[(&str, &str)]) -> Workspace {
    let workspace = Workspace::new(&[("one", "#[test]\nfn passes() {}\n")]);
    let table = format!(
        "[workspace.metadata.uml.suites.checks]\nfolder = \"checks\"\n{configuration}\n[workspace.metadata.uml.rootfs]"
    );
    workspace.replace("[workspace.metadata.uml.rootfs]", &table);
    for (name, text) in files {
        workspace.write(&format!("checks/{name}"), text);
        if text.starts_with("#!") {
            let executable = PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(workspace.path(&format!("checks/{name}")), executable)
                .unwrap();
        }
    }
    workspace
}

const SCRIPT: &str = "#!/bin/sh\n";

#[test]
fn programs_are_cases_beside_cargos_tests() {
    let files = [("a.sh", SCRIPT), ("b.sh", SCRIPT), ("slow.sh", SCRIPT), ("words.txt", "words")];
    let workspace = with_suite("programs = [\"a*\", \"slow.sh\"]\nignored = [\"slow*\"]", &files);
    let listed = |more: &[&str]| {
        let (code, listed, said) = workspace.xtask(&[LIST, more].concat());
        assert_eq!(code, Some(0), "{said}");
        listed
    };
    assert_eq!(listed(&[]), "one passes\nchecks a.sh\n");
    assert_eq!(listed(&["--suite", "checks"]), "checks a.sh\n");
    assert_eq!(listed(&["--suite", "rust"]), "one passes\n");
    assert_eq!(listed(&["--suite", "checks", "--suite", "rust", "passes"]), "one passes\n");
    assert_eq!(listed(&["--run-ignored", "only"]), "checks slow.sh\n");
    assert_eq!(listed(&["--test", "one"]), "one passes\n", "whoever selects means cargo's tests");
}

#[test]
fn a_list_names_the_cases() {
    let list = "# quick ones\nfirst a.sh\nsecond b.sh -v 'two words'\nslow a.sh --long\n";
    let files = [("a.sh", SCRIPT), ("b.sh", SCRIPT), ("runtest/quick", list)];
    let configuration = "list = \"runtest/quick\"\nignored = [\"slow\"]";
    let workspace = with_suite(configuration, &files);
    let (code, listed, said) = workspace.xtask(&[LIST, &["--suite", "checks"]].concat());
    assert_eq!((code, &*listed), (Some(0), "checks first\nchecks second\n"), "{said}");
    workspace.write("checks/runtest/quick", "first a.sh\nthird c.sh\n");
    let (code, listed, said) = workspace.xtask(&[LIST, &["--suite", "checks"]].concat());
    assert_eq!((code, &*listed), (Some(0), "checks first\n"), "{said}");
    assert!(said.contains("suite checks: not built, and not run: third"), "{said}");
    workspace.replace("runtest/quick", "runtest/slow");
    assert!(workspace.refusal(LIST).contains("`list`: nothing built is runtest/slow"));
}

#[test]
fn a_suite_is_built_once_and_again_when_it_was_changed() {
    let line = "build = \"echo built >> BUILT; install -m 755 a.sh $OUT/\"";
    let line = line.replace("BUILT", "/dev/stderr");
    let workspace = with_suite(&line, &[("a.sh", SCRIPT)]);
    let builds = || {
        let (code, listed, said) = workspace.xtask(LIST);
        assert_eq!((code, &*listed), (Some(0), "one passes\nchecks a.sh\n"), "{said}");
        said.contains("suite checks 1 programs")
    };
    assert!(builds() && !builds());
    workspace.write("checks/a.sh", "#!/bin/sh\nexit 1\n");
    assert!(builds(), "its source was changed");
    workspace.write("checks/.hidden", "of an editor");
    assert!(!builds());
}

#[test]
fn a_suite_that_is_wrong_is_named_with_what_is_wrong() {
    for (configuration, says) in [
        ("build = \"echo no compiler; exit 3\"", "exit code 3"),
        ("build = \"echo no compiler; exit 3\"", "no compiler"),
        ("build = \"true\"", "there is no executable file"),
        ("programs = [\"a.sh\", \"b.sh\"]", "no program that was built is b.sh; there is a.sh"),
        ("folder2 = \"x\"", "unknown key; did you mean `folder`?"),
        ("programs = [\"[\"]", "suites.checks: `[`"),
        ("result = \"taps\"", "suites.checks.result"),
        ("timeout = \"soon\"", "suites.checks.timeout"),
    ] {
        let said = with_suite(configuration, &[("a.sh", SCRIPT)]).refusal(LIST);
        assert!(said.contains("checks") && said.contains(says), "{configuration}: {said}");
    }
    let workspace = with_suite("", &[]);
    assert!(workspace.refusal(LIST).contains("suite checks: there is no folder"));
    for (name, says) in [
        ("cheks", "no suite `cheks`; did you mean `checks`?"),
        ("kselftest:", "no suite `kselftest:`"),
        ("kselftest:../x", "no suite"),
    ] {
        let said = workspace.usage_error(&[LIST, &["--suite", name]].concat());
        assert!(said.contains(says), "{said}");
    }
    let named = with_suite("", &[("a.sh", SCRIPT)]);
    named.replace("suites.checks", "suites.one");
    let said = named.refusal(LIST);
    assert!(said.contains("the suite `one` has the name of a test target"), "{said}");
}
