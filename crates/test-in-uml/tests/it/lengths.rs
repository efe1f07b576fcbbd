//! No file and no function of the workspace is longer than one can keep in mind, unless it says why.

use std::fs;
use std::path::Path;

use walkdir::WalkDir;

/// The most lines of each that need no reason.
const FILE: usize = 300;
const FUNCTION: usize = 60;

/// What is too long in a source as rustfmt lays it out, and gives no reason for it: a line that begins with
/// "Longer than", in the module's documentation or right above the function.
fn too_long(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let reason = |line: &str| line.trim_start_matches(['/', '!', ' ']).starts_with("Longer than ");
    let mut documentation = lines.iter().take_while(|line| line.starts_with("//!"));
    if lines.len() > FILE && !documentation.any(|line| reason(line)) {
        found.push(format!("{} lines", lines.len()));
    }
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let words = code.split(['(', '<']).next().unwrap_or_default();
        let is_function =
            words.split(' ').rev().nth(1) == Some("fn") && !code.starts_with(['"', '/']);
        let end = format!("{}}}", &line[..line.len() - code.len()]);
        let Some(length) = lines[start..].iter().position(|line| *line == end) else { continue };
        let above = lines[..start].iter().rev();
        let mut above = above.take_while(|line| line.trim_start().starts_with(['/', '#']));
        if is_function
            && !line.ends_with(['}', ';'])
            && length >= FUNCTION
            && !above.any(|l| reason(l))
        {
            found.push(format!("line {}: {} of them: {code}", start + 1, length + 1));
        }
    }
    found
}

#[test]
fn what_is_long_says_why() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    let mut files = 0;
    for part in ["crates", "guest-tests", "xtask"] {
        for entry in WalkDir::new(root.join(part)) {
            let path = entry.unwrap().into_path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                files += 1;
                let text = fs::read_to_string(&path).unwrap();
                found.extend(
                    too_long(&text).iter().map(|what| format!("{}: {what}", path.display())),
                );
            }
        }
    }
    assert!(files > 200, "{files}");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_file_and_a_function_that_are_too_long_are_seen() {
    let function = |lines: usize| {
        format!("    pub fn f<T>(\n    ) {{\n{}    }}\n", "        g();\n".repeat(lines - 3))
    };
    let within = |text: &str| format!("impl X {{\n{text}}}\n");
    assert!(too_long(&within(&function(FUNCTION))).is_empty());
    assert_eq!(too_long(&within(&function(FUNCTION + 1))).len(), 1);
    let explained =
        format!("    // Longer than 60 lines: a table.\n    #[test]\n{}", function(FUNCTION + 1));
    assert!(too_long(&within(&explained)).is_empty());
    let file = "struct X;\n".repeat(FILE + 1);
    assert_eq!(too_long(&file), ["301 lines"]);
    assert!(
        too_long(&format!("//! X.\n//!\n//! Longer than 300 lines: a list.\n\n{file}")).is_empty()
    );
}
