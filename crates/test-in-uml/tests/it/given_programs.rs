//! Programs of the command line: what is listed and said of them, and what comes of them in guests.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::support::xtask;
use super::workspace::Workspace;

/// Ends with the code that a header, or a flag, says.
const EXITS: &str = "#include \"code.h\"\nint main(void) { return CODE; }\n";

/// Never ends, nor does what it starts.
const LASTS: &str = "#include <unistd.h>\nint main(void) { fork(); for (;;) pause(); }\n";

/// Lasts until it has crashed its kernel.
const BITES: &str = "#!/bin/sh\necho c > /proc/sysrq-trigger\nsleep 60\n";

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
}

#[test]
fn programs_are_listed_alone_or_beside_what_is_named() {
    let workspace = Workspace::new(&[("one", "#[test]\nfn passes() {}\n")]);
    let folder = tempfile::tempdir().unwrap();
    let script = "#!/bin/sh\n";
    write(folder.path(), &[("exits.c", EXITS), ("code.h", "#define CODE 0"), ("a.sh", script)]);
    let path = folder.path().to_str().unwrap();
    let source = &format!("{path}/exits.c");
    let list = |more: &[&str]| workspace.xtask(&[&["test-in-uml", "--list"], more].concat());
    let listed = |more: &[&str]| {
        let (code, listed, said) = list(more);
        assert_eq!(code, Some(0), "{said}");
        listed
    };
    assert_eq!(listed(&["--program", source]), "program exits.c\n");
    assert_eq!(listed(&["--program", path]), "program a.sh\nprogram exits.c\n");
    assert_eq!(listed(&["--program", path, "exits"]), "program exits.c\n");
    let beside = listed(&["--program", source, "--suite", "rust"]);
    assert_eq!(beside, "one passes\nprogram exits.c\n");
    let built = |more: &[&str]| list(more).2.contains("suite program");
    assert!(!built(&["--program", source]), "it was built before");
    assert!(built(&["--program", source, "--", "-DMORE"]), "flags make another of it");
    write(folder.path(), &[("code.h", "#define CODE 1")]);
    assert!(built(&["--program", source]), "its header has changed");
}

#[test]
fn what_is_no_program_is_named() {
    let workspace = Workspace::new(&[("one", "#[test]\nfn passes() {}\n")]);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("wrong.c", "int main(void) { return nothing; }"), ("text", "words")]);
    write(folder.path(), &[("missing.c", "#include \"nowhere.h\"\n"), ("wrong.sh", "#!/bin/sh")]);
    write(folder.path(), &[("wrong", "#!/bin/sh")]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let refusal = |more: &[&str]| workspace.refusal(&[&["test-in-uml", "--list"], more].concat());
    for (name, says) in [
        ("wrong.c", "undeclared"),
        ("missing.c", "nowhere.h: No such file"),
        ("text", "text is no program: give a source"),
        ("nowhere", "nowhere: No such file"),
    ] {
        let said = refusal(&["--program", &path(name)]);
        assert!(said.contains(says), "{said}");
    }
    let said = refusal(&["--program", &path("wrong"), "--program", &path("wrong.c")]);
    assert!(said.contains("would have one name in guests"), "{said}");
    for wrong in [&["--", "-DX"][..], &["--for", "3s"]] {
        let (code, _, said) = workspace.xtask(&[&["test-in-uml"], wrong].concat());
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("--program <PATH>"), "{said}");
    }
}

#[test]
#[ignore = "boots guests"]
fn programs_of_the_command_line_have_verdicts() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[("exits.c", EXITS), ("code.h", "#ifndef CODE\n#define CODE 0\n#endif\n")],
    );
    write(folder.path(), &[("lasts.c", LASTS), ("bites", BITES), ("none.sh", "#!/nowhere/sh\n")]);
    let run = |more: &[&str]| {
        let mut xtask = xtask();
        xtask.args(["test-in-uml", "--kernel", "6.12", "--yes", "--no-fail-fast"]).args(more);
        let Output { status, stdout, stderr } = xtask.current_dir(&folder).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout) + &text(stderr))
    };
    let told = "#!/bin/sh\ntest \"$MINE\" = 'my own' && grep -qw uml_mine=1 /proc/cmdline\n";
    write(folder.path(), &[("told.sh", told)]);
    let (code, said) =
        run(&["--program", "told.sh", "--env", "MINE=my own", "--append", "uml_mine=1"]);
    assert_eq!(code, Some(0), "{said}");
    fs::remove_file(folder.path().join("told.sh")).unwrap();
    let (code, said) = run(&["--program", "exits.c"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["--program", ".", "--for", "1s", "--", "-DCODE=3"]);
    assert_eq!(code, Some(100), "{said}");
    for line in [
        "program lasts.c: ran for its time, and was ended",
        "program exits.c: exit code 3",
        "program bites: panic: Kernel panic - not syncing: sysrq triggered crash",
        "its interpreter is /nowhere/sh",
        "1 passed, 3 failed",
    ] {
        assert!(said.contains(line), "no {line}:\n{said}");
    }
    // What is given is in the command that runs it again.
    assert!(said.contains("--program . --for 1s -- '-DCODE=3'"), "{said}");
}
