//! The compiler's flags for what runs inside guests: the user's own, and those without which it would not run
//! there.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// The target of everything that runs inside a guest.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Linked statically, a program runs on every userland; at a fixed address, on every kernel from 3.0 up.
const STATIC: [&str; 2] = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"];

/// What cargo would give a program of the workspace at `root`: from the environment, or else from its
/// configuration (The Cargo Book, build.rustflags).
///
/// # Errors
/// When the configuration cannot be read, or a flag would undo what guests need.
pub fn of_user(root: &Path) -> Result<Vec<String>> {
    let config = cargo_config2::Config::load_with_cwd(root);
    let config = config
        .with_context(|| format!("cannot read cargo's configuration of {}", root.display()))?;
    let flags =
        config.rustflags(TARGET).context("cannot read rustflags of cargo's configuration")?;
    let flags = flags.map(|flags| flags.flags).unwrap_or_default();
    check(&flags)?;
    Ok(flags)
}

/// The flags that all guest programs have; of a path in one of these folders, the name that stands for the folder
/// is compiled in. A later one goes before an earlier one.
pub fn of_guests(folders: &[(&Path, &str)]) -> Vec<String> {
    let mut flags: Vec<String> = STATIC.map(Into::into).into();
    let remap =
        |(folder, name): &(&Path, &str)| format!("--remap-path-prefix={}={name}", folder.display());
    flags.extend(folders.iter().map(remap));
    flags
}

/// The flags for what a client of ours builds for guests in the workspace at `root`: the user's own, and what guests need. All of it is
/// linked with that object.
///
/// # Errors
/// When the configuration of cargo cannot be read, or a flag would undo what guests need.
pub fn of_clients(root: &Path, object: &Path) -> Result<Vec<String>> {
    let mut flags = of_user(root)?;
    flags.extend(STATIC.map(Into::into));
    flags.push(format!("-Clink-arg={}", object.display()));
    Ok(flags)
}

/// In one text for `CARGO_ENCODED_RUSTFLAGS`: a path may have spaces.
pub fn encoded(flags: &[String]) -> String {
    flags.join("\x1f")
}

/// Refuses what would be undone in silence, or undo what guests need.
fn check(flags: &[String]) -> Result<()> {
    // A flag may be one word or two: `-Cname=value`, `-C name=value`, `--codegen name=value`.
    let mut options = Vec::new();
    let mut words = flags.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let option = match word {
            "-C" | "--codegen" => words.next(),
            _ => word.strip_prefix("-C").or_else(|| word.strip_prefix("--codegen=")),
        };
        options.extend(option);
    }
    for option in options {
        let why = match option.split_once('=').unwrap_or((option, "")) {
            ("target-feature", features) if features.split(',').any(|one| one == "-crt-static") => {
                "it has to be linked statically"
            }
            ("prefer-dynamic", value) if !matches!(value, "no" | "n" | "off" | "false") => {
                "it has to be linked statically"
            }
            ("relocation-model", value) if value != "static" => "it runs at a fixed address",
            _ => continue,
        };
        bail!(
            "rustflags: `-C {option}` cannot be for what runs in guests: {why}. Take it out of RUSTFLAGS, \
             or of rustflags in cargo's configuration"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(flags: &[&str]) -> Option<String> {
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        check(&flags).err().map(|error| error.to_string())
    }

    #[test]
    fn what_undoes_what_guests_need_is_named() {
        for (flags, named) in [
            (&["-Ctarget-feature=-crt-static"][..], "`-C target-feature=-crt-static`"),
            (&["-C", "target-feature=+avx,-crt-static"], "-crt-static"),
            (&["--codegen", "prefer-dynamic"], "`-C prefer-dynamic`"),
            (&["--codegen=prefer-dynamic=yes"], "prefer-dynamic"),
            (&["-Crelocation-model=pic"], "`-C relocation-model=pic`"),
        ] {
            let said = said(flags).unwrap_or_else(|| panic!("{flags:?} is taken"));
            assert!(said.contains(named), "{said}");
        }
        for fine in [
            &["--cfg", "tokio_unstable"][..],
            &["-Ctarget-cpu=native", "-C", "target-feature=+avx2", "-Cprefer-dynamic=no"],
            &["-Crelocation-model=static", "-Clink-arg=-fuse-ld=mold"],
        ] {
            assert_eq!(said(fine), None);
        }
    }
}
