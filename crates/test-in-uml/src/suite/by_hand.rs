//! A case as a folder that a person puts into a guest, to run it there by hand.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use uml_protocol::{PROGRAMS, env, path_of};

use super::binary_case::BinaryCase;
use crate::guest::{PackageFolder, Program};
use crate::kernel::{KernelBinary, Module};

/// The script that runs the case.
pub const RUN: &str = "run";

/// Takes a case's declarations, as the agent does.
const DECLARATIONS: &str = include_str!("by_hand/declarations");

/// Writes the case to `folder`, with its program, its package's files, and a script that runs it with the environment that
/// it has in a run on this kernel. There is no peer and there are no scenarios.
///
/// # Errors
/// When something cannot be written.
pub fn write_by_hand(
    case: &BinaryCase,
    kernel: &KernelBinary,
    modules: &[Module],
    folder: &Path,
) -> Result<()> {
    let files = folder.join("files");
    fs::create_dir(&files).with_context(|| format!("cannot make {}", files.display()))?;
    let package = case.binary.package.as_ref();
    let needed = package.into_iter().flat_map(PackageFolder::needed);
    for program in [&*case.binary.program].into_iter().chain(needed) {
        let place = path_of(&program.hash());
        program.copy_to(&files.join(place.file_name().unwrap_or_default()))?;
    }
    for module in modules {
        let to = files.join(file_of(module));
        fs::copy(&module.path, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    for (name, text) in [(RUN, &*script(case, kernel, modules)?), ("declarations", DECLARATIONS)] {
        let path = folder.join(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn file_of(module: &Module) -> String {
    format!("{}.ko", module.name)
}

fn script(case: &BinaryCase, kernel: &KernelBinary, modules: &[Module]) -> Result<String> {
    let quoted = |text: &str| shlex::try_quote(text).map(std::borrow::Cow::into_owned);
    let program = |program: &Program| path_of(&program.hash()).display().to_string();
    let mut text = format!(
        "#!/bin/sh\n\
         # Runs `{}` by hand; arguments go to its program.\n\
         set -e\n\
         here=$(cd \"$(dirname \"$0\")\" && pwd)\n\
         if [ ! -e {PROGRAMS}/by-hand ]; then\n    \
             mkdir -p {PROGRAMS}\n    mount -t tmpfs -o mode=0755 by-hand {PROGRAMS}\n    \
             cp \"$here\"/files/* {PROGRAMS}/\n    chmod 755 {PROGRAMS}/*\n",
        case.name().to_string().replace('\n', " "),
    );
    let mut dir = "\"$work\"".into();
    // Writing to a string does not fail.
    if let Some(package) = &case.binary.package {
        let there = format!("{PROGRAMS}/packages");
        let archive = program(&package.files.archive);
        let _ = writeln!(text, "    mkdir {there}\n    tar -xf {archive} -C {there}");
        for root in &package.files.roots {
            let (from, root) = (quoted(&format!("{there}{root}"))?, quoted(root)?);
            let _ = writeln!(text, "    mkdir -p {root}\n    mount --bind {from} {root}");
        }
        dir = quoted(&package.path)?;
    }
    let _ = write!(text, "    touch {PROGRAMS}/by-hand\nfi\nwork=$(mktemp -d)\ncd {dir}\n");
    for name in ["HOME", "TMPDIR", env::CASE_DIR] {
        let _ = writeln!(text, "export {name}=\"$work\"");
    }
    let _ = writeln!(text, "export {}=\"$work/skipped\"", env::SKIP_FILE);
    let modules = modules.iter().map(|one| format!("{} {PROGRAMS}/{}", one.name, file_of(one)));
    let modules: Vec<String> = modules.collect();
    let fixed = [
        (env::GUEST, "1"),
        (env::ATTEMPT, "1"),
        (env::MODULES, &modules.join("\n")),
        (env::KERNEL_FRAGMENTS, &kernel.requested.join("\n")),
    ];
    let of_package = case.binary.package.iter().flat_map(|package| &package.environment);
    let of_package = of_package.map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in fixed.into_iter().chain(of_package) {
        let _ = writeln!(text, "export {name}={}", quoted(value)?);
    }
    let arguments = shlex::try_join(case.args().iter().map(String::as_str))?;
    let called = case.binary.of_suite.as_ref().and_then(|of_suite| of_suite.called.clone());
    let program = called.unwrap_or_else(|| program(&case.binary.program));
    let _ = writeln!(text, "exec perl \"$here\"/declarations {program} {arguments} \"$@\"");
    Ok(text)
}
