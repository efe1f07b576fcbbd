//! Test binaries that are asked for their cases: what they do meanwhile, and what they are told.

use std::fs;
use std::net::TcpListener;

use super::support::{eventually, is_running};
use super::workspace::Workspace;

const LIST: &[&str] = &["test-in-uml", "--list"];

/// A test with a constructor.
fn with_constructor(body: &str) -> String {
    format!(
        "#[used]\n#[unsafe(link_section = \".init_array\")]\n\
         static BEFORE_MAIN: extern \"C\" fn() = before_main;\n\
         extern \"C\" fn before_main() {{\n{body}\n}}\n\
         #[test]\nfn a_case() {{}}\n#[test]\n#[ignore]\nfn a_slow_case() {{}}\n"
    )
}

/// A workspace with one test target without libtest's harness.
fn without_harness(text: &str) -> Workspace {
    let workspace = Workspace::new(&[("own", text)]);
    let manifest = "[package]\nname = \"guest-tests\"\nedition = \"2024\"\n\
                    [[test]]\nname = \"own\"\nharness = false\n";
    workspace.write("guest-tests/Cargo.toml", manifest);
    workspace
}

#[test]
fn what_comes_before_the_list_does_nothing_to_the_host() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let body = format!(
        "unsafe extern \"C\" {{ fn mount(s: *const i8, t: *const i8, k: *const i8, f: u64, d: *const i8) -> i32; }}\n\
         let _ = std::fs::write({:?}, \"written\");\n\
         let _ = std::net::TcpStream::connect(\"{}\");\n\
         let _ = std::process::Command::new(\"/bin/touch\").arg({:?}).status();\n\
         unsafe {{ mount(c\"tmpfs\".as_ptr(), c\"{}\".as_ptr(), c\"tmpfs\".as_ptr(), 0, std::ptr::null()); }}",
        dir.path().join("written"),
        listener.local_addr().unwrap(),
        dir.path().join("touched"),
        dir.path().display(),
    );
    let workspace = Workspace::new(&[("tries", &with_constructor(&body))]);
    let (code, listed, said) = workspace.xtask(LIST);
    assert_eq!((code, &*listed), (Some(0), "tries a_case\n"), "{said}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(listener.accept().is_err());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(dir.path().to_str().unwrap()), "{mounts}");
}

#[test]
fn what_never_comes_to_the_list_is_ended() {
    let text = with_constructor("std::thread::sleep(std::time::Duration::MAX);");
    let workspace = Workspace::new(&[("sleeps", &text)]);
    let said = workspace.refusal(LIST);
    assert!(said.contains("`sleeps`") && said.contains("it takes longer than 30s"), "{said}");
    eventually("the end of it", || !is_running("tests\0--list\0--format"));
}

#[test]
fn a_binary_is_asked_once_and_half_an_answer_is_none() {
    let workspace = Workspace::new(&[("one", &with_constructor(""))]);
    assert_eq!(workspace.xtask(LIST).1, "one a_case\n");
    let kept = workspace.path("target/uml/guest-target/lists.json");
    let text = fs::read_to_string(&kept).unwrap();
    fs::write(&kept, text.replace("a_slow_case", "of_the_file").replace("true", "false")).unwrap();
    assert_eq!(workspace.xtask(LIST).1, "one a_case\none of_the_file\n");
    fs::write(&kept, &text[..text.len() / 2]).unwrap();
    assert_eq!(workspace.xtask(LIST).1, "one a_case\n");
    assert_eq!(fs::read_to_string(&kept).unwrap(), text);
    // Another binary is asked itself.
    let other = with_constructor("").replace("a_case", "another");
    workspace.write("guest-tests/tests/one.rs", &other);
    assert_eq!(workspace.xtask(LIST).1, "one another\n");
}

#[test]
fn a_main_that_lists_nothing_is_one_case_and_does_nothing_to_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let body =
        format!("fn main() {{ let _ = std::fs::write({:?}, \"ran\"); }}", dir.path().join("ran"));
    for text in [
        &*body,
        "fn main() { println!(\"all is well\") }",
        "fn main() { eprintln!(\"no /dev/ubda\"); std::process::exit(3) }",
        "fn main() { print!(\"\\u{1b}[2Jx\") }",
        "fn main() { loop { println!(\"{}\", \"words \".repeat(1 << 20)) } }",
    ] {
        let (code, listed, said) = without_harness(text).xtask(LIST);
        assert_eq!((code, &*listed), (Some(0), "own main\n"), "{text}: {said}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "its main ran on the host");
}

#[test]
fn a_list_that_is_none_is_an_error_where_the_manifest_has_libtests_harness() {
    let exits = with_constructor("std::process::exit(3);");
    let said = Workspace::new(&[("exits", &exits)]).refusal(LIST);
    assert!(said.contains("`exits` of `guest-tests` does not list its cases"), "{said}");
}

#[test]
fn a_harness_of_ones_own_may_list_cases() {
    let text = "fn main() {
        if std::env::args().any(|arg| arg == \"--list\") {
            let ignored = std::env::args().any(|arg| arg == \"--ignored\");
            print!(\"{}the slow one: test\\n\", if ignored { \"\" } else { \"the one: test\\n\" });
        }
    }";
    let workspace = without_harness(text);
    let (code, listed, said) = workspace.xtask(LIST);
    assert_eq!((code, &*listed), (Some(0), "own the one\n"), "{said}");
}

#[test]
fn a_target_without_any_case_is_no_error_and_is_named() {
    let workspace = Workspace::new(&[("empty", "")]);
    let (code, listed, said) = workspace.xtask(LIST);
    assert_eq!((code, &*listed), (Some(0), ""));
    assert!(said.contains("test target `empty` has no case"), "{said}");
}
