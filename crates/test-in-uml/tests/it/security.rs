//! `SECURITY.md` promises nothing that no test holds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names of all functions in the sources below `dir`.
fn functions(dir: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            names.extend(text.lines().filter_map(|line| {
                let (_, rest) = line.trim_start().split_once("fn ")?;
                Some(rest.split_once('(')?.0.to_owned())
            }));
        }
    }
}

#[test]
fn each_line_of_the_security_page_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut known = BTreeSet::new();
    for dir in ["crates", "guest-tests"] {
        functions(&root.join(dir), &mut known);
    }
    let page = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let mut lines = 0;
    for line in page.lines().filter(|line| line.starts_with("| ") && !line.ends_with("Held by |")) {
        let (_, held_by) = line.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        // What is in quotes stands at the odd places.
        let tests: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test holds: {line}");
        for test in tests {
            assert!(known.contains(test), "there is no test `{test}`, which is to hold: {line}");
        }
        lines += 1;
    }
    assert!(lines > 25, "only {lines} lines were found");
}
