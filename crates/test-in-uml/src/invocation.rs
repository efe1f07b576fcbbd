//! What the user types to run us, for messages that say what to type next.

use std::path::Path;
use std::sync::LazyLock;

/// `cargo xtask`, or whatever the package is called that cargo runs us from; the program's own name where cargo
/// does not.
pub fn command() -> &'static str {
    static COMMAND: LazyLock<String> = LazyLock::new(|| {
        let package = std::env::var("CARGO_PKG_NAME").ok();
        named(package.as_deref(), std::env::args().next().as_deref())
    });
    &COMMAND
}

fn named(package: Option<&str>, program: Option<&str>) -> String {
    let program = program.and_then(|path| Path::new(path).file_name()?.to_str());
    match (package, program) {
        // `cargo run` sets it (The Cargo Book, environment variables), and the alias is called as the package.
        (Some(package), _) => format!("cargo {package}"),
        (None, Some(program)) => program.into(),
        (None, None) => "cargo xtask".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_the_user_typed() {
        assert_eq!(named(Some("xtask"), Some("target/debug/xtask")), "cargo xtask");
        assert_eq!(named(Some("guests"), None), "cargo guests");
        assert_eq!(named(None, Some("/usr/bin/test-in-uml")), "test-in-uml");
        assert_eq!(named(None, None), "cargo xtask");
    }
}
