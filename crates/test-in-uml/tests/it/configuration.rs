//! Workspaces of others, with what can be wrong in them: what xtask says of it, and with which exit code.

use super::workspace::Workspace;

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
fn what_the_workspace_does_not_have_is_named() {
    let workspace = Workspace::new(&[]);
    workspace.replace("package = \"guest-tests\"", "package = \"guest-test\"");
    let said = workspace.refusal(&["test-in-uml", "--list"]);
    assert!(said.contains("tests.packages: the workspace has no package `guest-test`"), "{said}");
    assert!(said.contains("did you mean `guest-tests`?"), "{said}");

    let workspace = Workspace::new(&[]);
    let said = workspace.usage_error(&["test-in-uml", "--module", "/no/such/module"]);
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
    workspace.write("Cargo.toml", "[workspace]\nmembers = [\"guest-tests\"\n");
    let said = workspace.refusal(&["doctor"]);
    assert!(said.contains("cannot read the workspace") && said.contains("Cargo.toml"), "{said}");
}

#[test]
fn fragments_that_are_not_there_or_contradict_each_other_are_named() {
    let workspace = Workspace::new(&[]);
    let kernel = ["--offline", "kernel", "--kernel", "mine"];
    workspace.replace("fragments = [\"uml\"]", "fragments = [\"ulm\", \"net\"]");
    workspace.write("kconfig/uml.config", "CONFIG_NET=y\n");
    workspace.write("kconfig/net.config", "\n# CONFIG_NET is not set\n");
    let said = workspace.refusal(&kernel);
    assert!(said.contains("the fragment `ulm`") && said.contains("did you mean `uml`?"), "{said}");
    workspace.replace("\"ulm\"", "\"uml\"");
    let said = workspace.refusal(&kernel);
    assert!(said.contains("kconfig/uml.config:1: CONFIG_NET=y"), "{said}");
    assert!(said.contains("kconfig/net.config:2: # CONFIG_NET is not set"), "{said}");
    workspace.write("kconfig/net.config", "CONFIG_NET=yes\n");
    let said = workspace.refusal(&kernel);
    assert!(said.contains("kconfig/net.config:1: `yes` is not a value"), "{said}");
}
