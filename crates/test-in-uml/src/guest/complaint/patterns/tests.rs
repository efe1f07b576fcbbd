//! The word list against the table, and against the kernels' sources where they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// A line of `words.txt`.
struct Word {
    class: &'static str,
    kernels: Vec<&'static str>,
    file: &'static str,
    format: &'static str,
}

fn words() -> Vec<Word> {
    let lines = include_str!("words.txt").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(word).collect()
}

fn word(line: &'static str) -> Word {
    let mut columns = line.splitn(4, " | ");
    let mut column = || columns.next().unwrap_or_else(|| panic!("{line}: it has four columns"));
    let (class, kernels, place, format) = (column(), column(), column(), column());
    let file = place.split(' ').next().unwrap();
    Word { class, kernels: kernels.split(' ').collect(), file, format }
}

/// The parts of a format between its conversions, such as `%08lx`, with what macros put before it.
fn parts(format: &str) -> Vec<String> {
    let format = format.replace('~', "");
    let mut pieces = format.split('%');
    let mut parts = vec![pieces.next().unwrap_or_default().to_owned()];
    for piece in pieces {
        let flags =
            piece.trim_start_matches(['0', '1', '2', '3', '4', '5', '8', '.', 'l', 'z', 'L', '#']);
        let after = flags.get(1..).unwrap_or_default();
        // `%pS` and its like.
        let after = match flags.starts_with('p') {
            true => after.trim_start_matches(['S', 's', 'F', 'V', 'x', 'g', 'G', 'D', 'b', '*']),
            false => after,
        };
        parts.push(after.to_owned());
    }
    parts
}

/// The format as a kernel would write it.
fn line_of(format: &str) -> String {
    parts(format).join("12")
}

#[test]
fn each_word_of_the_kernels_is_taken_for_what_the_list_says() {
    let words = words();
    assert!(words.len() > 150, "{} words", words.len());
    let mut wrong = Vec::new();
    for Word { class, format, .. } in &words {
        let line = line_of(format);
        let name = Pattern::of_line(line.trim_end()).map(|pattern| pattern.name);
        let right = match *class {
            "trace" | "nothing" => {
                name.is_none() && !begins_trace(&line) && !disables_detector(&line)
            }
            "blind" => disables_detector(&line),
            class => name == Some(class) && !disables_detector(&line),
        };
        if !right {
            wrong.push(format!("{line}: {name:?}, not {class}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_list_has_words_for_each_pattern() {
    let mut seen: BTreeMap<&str, bool> =
        table::PATTERNS.iter().map(|pattern| (pattern.name, false)).collect();
    for word in words() {
        seen.insert(word.class, true);
    }
    // Those of no init and of nfs are in files that few kernels share.
    seen.retain(|name, seen| !*seen && ![NO_INIT, "nfs-error"].contains(name));
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn the_documentation_has_each_name() {
    let text = include_str!("../../../../../../docs/complaints.md");
    for pattern in table::PATTERNS {
        assert!(text.contains(&format!("`{}`", pattern.name)), "{}", pattern.name);
    }
}

#[test]
fn what_a_healthy_kernel_says_is_no_complaint() {
    for line in include_str!("healthy.txt").lines() {
        assert!(Pattern::of_line(line).is_none(), "{line}");
        assert!(!begins_trace(line) && !disables_detector(line), "{line}");
    }
}

#[test]
fn a_trace_is_known_by_its_first_lines_on_old_and_new_kernels() {
    for line in [
        "CPU: 0 UID: 0 PID: 47 Comm: x Tainted: G           O       6.12.117 #1 ",
        "CPU: 0 PID: 1 Comm: swapper Not tainted 6.1.192 #1",
        "Pid: 12, comm: insmod Tainted: G        W   3.0.1",
        "Modules linked in: fault(O)",
        "Call Trace: ",
        "Stub registers -",
        "RIP: 0033:[<0000000060034b2c>]",
    ] {
        assert!(begins_trace(line), "{line}");
    }
    for line in ["CPU: Testing write buffer", "Stacks are fine", "Call me", "CPU: 0 is up"] {
        assert!(!begins_trace(line), "{line}");
    }
}

/// The sources are looked for in `UML_SOURCES`: folders with the names of kernels, 3.0 and so on.
#[test]
#[ignore = "needs the sources of kernels"]
fn the_words_are_in_the_sources() {
    let sources = PathBuf::from(std::env::var_os("UML_SOURCES").expect("UML_SOURCES"));
    let mut wrong = Vec::new();
    let mut looked = 0;
    for word in words() {
        for kernel in &word.kernels {
            let tree = sources.join(kernel);
            if tree.is_dir() {
                looked += 1;
                if let Err(why) = look_for(&word, &tree) {
                    wrong.push(format!("{kernel} {}: {why}: {}", word.file, word.format));
                }
            }
        }
    }
    assert!(wrong.is_empty() && looked > 0, "of {looked}:\n{}", wrong.join("\n"));
}

/// Looks for a format, which the source may have in several literals.
fn look_for(word: &Word, tree: &Path) -> Result<(), String> {
    let text = fs::read_to_string(tree.join(word.file)).map_err(|error| error.to_string())?;
    let text = joined(&text);
    // What macros add is not in it.
    let own = word.format.split('~').step_by(2).flat_map(|piece| piece.split("%p*"));
    let found = own.map(str::trim_end).all(|piece| text.contains(piece));
    found.then_some(()).ok_or_else(|| "not in it".into())
}

/// A source with literals that follow each other made one, and without escapes in them.
fn joined(text: &str) -> String {
    let mut joined = String::new();
    let mut pieces = text.replace("\\\"", "\u{1}").replace("\\n", "\u{2}");
    pieces = pieces.replace('\u{2}', "");
    let mut rest = pieces.as_str();
    while let Some((before, after)) = rest.split_once('"') {
        joined.push_str(before);
        let next = after.trim_start();
        rest = next.strip_prefix('"').unwrap_or(after);
    }
    joined.push_str(rest);
    joined.replace('\u{1}', "\"")
}
