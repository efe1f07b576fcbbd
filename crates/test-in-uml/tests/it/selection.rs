//! Which tests of which packages are run: by the flags of `cargo test`, and with its meaning of them.

use super::workspace::Workspace;

const PASSES: &str = "#[test]\nfn passes() {}\n";
const UNIT: &str = "#[cfg(test)]\nmod tests {\n    #[test]\n    fn unit() {}\n}\n";

/// A workspace with two packages: one with tests of every kind, the other with a test target of the same name.
fn two_packages() -> Workspace {
    let workspace = Workspace::new(&[("api", PASSES)]);
    workspace.replace("members = [\"guest-tests\"]", "members = [\"guest-tests\", \"second\"]");
    workspace.replace("package = \"guest-tests\"", "packages = [\"guest-tests\", \"second\"]");
    let manifest = "[package]\nname = \"second\"\nedition = \"2024\"\n[features]\nmore = []\n\
                    [[example]]\nname = \"shown\"\ntest = true\n\
                    [[example]]\nname = \"plain\"\n\
                    [[bench]]\nname = \"fast\"\n";
    workspace.write("second/Cargo.toml", manifest);
    let documented = format!("//! ```\n//! assert!(true);\n//! ```\n{UNIT}");
    workspace.write("second/src/lib.rs", &documented);
    workspace.write("second/src/main.rs", &format!("fn main() {{}}\n{UNIT}"));
    workspace.write("second/examples/shown.rs", &format!("fn main() {{}}\n{UNIT}"));
    workspace.write("second/examples/plain.rs", &format!("fn main() {{}}\n{UNIT}"));
    workspace.write("second/benches/fast.rs", "fn main() {}\n");
    workspace.write("second/tests/api.rs", PASSES);
    let more = "#[test]\nfn always() {}\n#[cfg(feature = \"more\")]\n#[test]\nfn with_more() {}\n";
    workspace.write("second/tests/more.rs", more);
    workspace
}

/// The cases that are listed with these flags, and what is said beside them.
fn listed(workspace: &Workspace, flags: &[&str]) -> (Vec<String>, String) {
    let args = [&["test-in-uml", "--list"], flags].concat();
    let (code, listed, said) = workspace.xtask(&args);
    assert_eq!(code, Some(0), "{flags:?}: {said}");
    (listed.lines().map(String::from).collect(), said)
}

#[test]
fn what_cargo_test_would_choose_is_chosen_and_the_rest_is_named() {
    let workspace = two_packages();
    let (all, said) = listed(&workspace, &[]);
    assert_eq!(
        all,
        [
            "guest-tests::api passes",
            "more always",
            "second tests::unit",
            "second::api passes",
            "second::bin/second tests::unit",
            "shown tests::unit",
        ]
    );
    assert!(said.contains("not run doc tests of `second`; bench `fast` of `second`"), "{said}");
    assert!(!said.contains("has no case"), "an empty library is nothing to be warned of: {said}");

    for (flags, expected) in [
        (&["-p", "guest-tests"][..], &["guest-tests::api passes"][..]),
        (&["-p", "second", "--lib"], &["second tests::unit"]),
        (&["--bins"], &["second::bin/second tests::unit"]),
        (&["--bin", "second"], &["second::bin/second tests::unit"]),
        (&["--test", "api"], &["guest-tests::api passes", "second::api passes"]),
        (&["--example", "shown"], &["shown tests::unit"]),
        (&["-p", "second", "--test", "more", "-F", "more"], &["more always", "more with_more"]),
        (
            &["--workspace", "--exclude", "guest-tests", "--all-features", "with_"],
            &["more with_more"],
        ),
    ] {
        assert_eq!(listed(&workspace, flags).0, expected, "{flags:?}");
    }
    let wrong = workspace.refusal(&["test-in-uml", "--list", "-p", "secund"]);
    assert!(wrong.contains("--package") && wrong.contains("did you mean `second`?"), "{wrong}");
    assert_eq!(workspace.xtask(&["test-in-uml", "--list", "--test", "zzz"]).0, Some(101));
}

#[test]
fn another_workspace_is_tested_that_knows_nothing_of_us() {
    let own = Workspace::new(&[("own", PASSES)]);
    let other = two_packages();
    other.write("Cargo.toml", "[workspace]\nmembers = [\"guest-tests\", \"second\"]\n");
    other.write(".cargo/config.toml", "[build]\nrustflags = [\"--cfg\", \"theirs\"]\n");
    other.write("second/tests/api.rs", "#[cfg(theirs)]\n#[test]\nfn flagged() {}\n");
    let root = other.path("Cargo.toml");
    let package = other.path("second/Cargo.toml");
    let [root, package] = [&root, &package].map(|path| path.to_str().unwrap());
    let (all, _) = listed(&own, &["--manifest-path", root, "--tests"]);
    assert!(all.contains(&"second::api flagged".to_owned()), "{all:?}");
    assert!(all.contains(&"guest-tests::api passes".to_owned()), "{all:?}");
    // A case is called the same whatever is selected.
    let (of_one, _) = listed(&own, &["--manifest-path", package, "--test", "api"]);
    assert_eq!(of_one, ["second::api flagged"]);
    let wrong = own.refusal(&["test-in-uml", "--list", "--manifest-path", "/no/such/Cargo.toml"]);
    assert!(
        wrong.contains("--manifest-path /no/such/Cargo.toml: there is no such file"),
        "{wrong}"
    );
    assert!(!other.path("target").exists(), "nothing of ours is in the other workspace");
}

#[test]
fn flags_of_the_user_are_added_to_ours() {
    let flagged = "#[cfg(theirs)]\n#[test]\nfn flagged() {}\n#[cfg(target_feature = \"crt-static\")]\n\
                   #[test]\nfn is_static() {}\n";
    let workspace = Workspace::new(&[("flags", flagged)]);
    let list = &["test-in-uml", "--list"];
    let cases = |(code, listed, said): (Option<i32>, String, String)| {
        assert_eq!(code, Some(0), "{said}");
        listed
    };
    assert_eq!(cases(workspace.xtask(list)), "flags is_static\n");
    let both = "flags flagged\nflags is_static\n";
    assert_eq!(cases(workspace.xtask_with(list, &[("RUSTFLAGS", "--cfg theirs")])), both);
    workspace.write(".cargo/config.toml", "[build]\nrustflags = \"--cfg theirs\"\n");
    assert_eq!(cases(workspace.xtask(list)), both);
    let for_target = "[target.'cfg(target_os = \"linux\")']\nrustflags = [\"--cfg\", \"theirs\"]\n";
    workspace.write(".cargo/config.toml", for_target);
    assert_eq!(cases(workspace.xtask(list)), both);
    workspace.write(".cargo/config.toml", "[build]\nrustflags = \"-C prefer-dynamic\"\n");
    let said = workspace.refusal(list);
    assert!(said.contains("`-C prefer-dynamic` cannot be"), "{said}");
}

#[test]
fn a_target_directory_or_build_directory_of_the_user_holds_what_is_built() {
    let workspace = Workspace::new(&[("one", PASSES)]);
    workspace.write(
        ".cargo/config.toml",
        "[build]\ntarget = \"x86_64-unknown-linux-gnu\"\nbuild-dir = \"elsewhere\"\n",
    );
    assert_eq!(listed(&workspace, &[]).0, ["one passes"]);
    assert!(workspace.path("elsewhere").is_dir());
}
