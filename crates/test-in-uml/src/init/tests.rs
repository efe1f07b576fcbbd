use super::*;

fn wanted(root: &Path) -> Adoption {
    let engine = Engine::Git("https://h/engine".into());
    Adoption { root: root.into(), engine, module: None, workflow: None }
}

fn read(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name)).unwrap()
}

/// How many lines are in all files below a folder that are not empty.
fn lines(root: &Path) -> usize {
    let files = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    // A lock file is nobody's to read.
    let files = files.filter(|entry| entry.file_name() != "uml.lock");
    files
        .map(|file| {
            fs::read_to_string(file.path()).unwrap().lines().filter(|line| !line.is_empty()).count()
        })
        .sum()
}

#[test]
fn an_empty_folder_becomes_a_workspace_of_few_lines() {
    let root = tempfile::tempdir().unwrap();
    let written = init(&wanted(root.path())).unwrap();
    assert!(written.contains(&Written::New("Cargo.toml".into())), "{written:?}");
    assert_eq!(
        read(root.path(), "Cargo.toml"),
        "[workspace]\nresolver = \"3\"\nmembers = [\"guest-tests\", \"xtask\"]\n"
    );
    assert!(read(root.path(), "xtask/Cargo.toml").contains("git = \"https://h/engine\""));
    assert!(lines(root.path()) <= 25, "{} lines", lines(root.path()));
}

#[test]
fn what_is_there_is_never_overwritten_and_nothing_is_written_beside_it() {
    for name in [".cargo/config.toml", "xtask/src/main.rs", "guest-tests/Cargo.toml"] {
        let root = tempfile::tempdir().unwrap();
        write_new(&root.path().join(name), "mine").unwrap();
        let error = init(&wanted(root.path())).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        assert_eq!(lines(root.path()), 1);
        assert_eq!(read(root.path(), name), "mine");
    }
}

#[test]
fn a_manifest_keeps_all_that_it_says() {
    let package = "# of ours\n[package]\nname = \"driver\" # a name\n";
    let workspace = "[workspace]\nmembers = [\n    \"a\", # first\n]\n";
    for before in [package, workspace] {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("Cargo.toml"), before).unwrap();
        let written = init(&wanted(root.path())).unwrap();
        assert!(written.contains(&Written::Changed("Cargo.toml".into())), "{written:?}");
        let after = read(root.path(), "Cargo.toml");
        for words in before.split_whitespace().filter(|word| *word != "]") {
            assert!(after.contains(words), "{words}: {after}");
        }
        assert!(after.contains("\"guest-tests\"") && after.contains("\"xtask\""), "{after}");
    }
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("Cargo.toml"), "[workspace\n").unwrap();
    let error = format!("{:#}", init(&wanted(root.path())).unwrap_err());
    assert!(error.contains("Cargo.toml"), "{error}");
    assert_eq!(lines(root.path()), 1);
}

#[test]
fn a_module_is_built_and_loaded_whether_it_was_there_or_not() {
    let with =
        |root: &Path, folder: &str| init(&Adoption { module: Some(folder.into()), ..wanted(root) });
    let root = tempfile::tempdir().unwrap();
    with(root.path(), "driver").unwrap();
    assert_eq!(read(root.path(), "driver/Kbuild"), "obj-m := driver.o\n");
    assert!(read(root.path(), "driver/driver.c").contains("driver_init"));
    assert!(
        read(root.path(), "Cargo.toml")
            .contains("[workspace.metadata.uml]\nmodules = [\"driver\"]")
    );

    let root = tempfile::tempdir().unwrap();
    write_new(&root.path().join("src/Makefile"), "ccflags-y := -g\nobj-m += lan.o wan.o\n")
        .unwrap();
    with(root.path(), "src").unwrap();
    assert!(read(root.path(), "guest-tests/tests/first.rs").contains("Module::load(\"lan\")"));

    for (folder, why) in [("../x", "below the repository"), ("a b", "letters, digits")] {
        let root = tempfile::tempdir().unwrap();
        let error = with(root.path(), folder).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_workspace_above_is_named() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("Cargo.toml"), "[workspace]\n").unwrap();
    fs::create_dir(root.path().join("inner")).unwrap();
    let error = init(&wanted(&root.path().join("inner"))).unwrap_err().to_string();
    assert!(error.contains("below the workspace of"), "{error}");
}
