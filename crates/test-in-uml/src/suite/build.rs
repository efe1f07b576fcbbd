//! Building what runs inside guests, with cargo, statically: it then runs on every kernel from 3.0
//! up and on any userland.

use std::ffi::OsString;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use cargo_metadata::Message;

use crate::cancel::{self, Interruptible};
use crate::config::hint;
use crate::ctx::{Ctx, Network};
use crate::defaults;
use crate::isolation::{Contained, Ids};

/// The target of everything that runs inside a guest.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The cargo profile of everything that runs inside a guest: small, because each guest gets a copy, with a
/// test's checks on. It is said on the command line, so that a workspace need not have it.
const PROFILE: &str = "uml-guest";

const PROFILE_CONFIG: [&str; 7] = [
    "profile.uml-guest.inherits = \"dev\"",
    "profile.uml-guest.opt-level = 1",
    "profile.uml-guest.debug = false",
    "profile.uml-guest.strip = true",
    "profile.uml-guest.package.\"*\".opt-level = 3",
    // With them the standard library asks the kernel about each descriptor that it closes.
    "profile.uml-guest.package.uml-agent.debug-assertions = false",
    "profile.uml-guest.package.uml-agent.overflow-checks = true",
];

/// The feature that a package may have for what is built for guests alone.
const FEATURE: &str = "guest";

/// The tests do not compile; the exit code is 101, as nextest has it.
#[derive(Debug, thiserror::Error)]
#[error("what runs in guests does not compile")]
pub struct TestBuildFailed;

/// A test binary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestBinary {
    /// The name of the test target, for example `ext4`.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
}

/// Builds the agent.
///
/// # Errors
/// When it does not compile.
pub fn agent(ctx: &Ctx) -> Result<PathBuf> {
    let args = ["build", "--package", "uml-agent", "--bin", "uml-agent"];
    let built = cargo(ctx, args.map(OsString::from).to_vec())?;
    let agent = built.into_iter().find(|binary| binary.name == "uml-agent");
    Ok(agent.context("cargo built no agent")?.path)
}

/// Builds the test binaries of the configured package, sorted by name.
///
/// # Errors
/// [`TestBuildFailed`] when they do not compile; another when there is no such package.
pub fn test_binaries(ctx: &Ctx) -> Result<Vec<TestBinary>> {
    let tests = &ctx.config.tests;
    let packages = &ctx.metadata.packages;
    let package = packages.iter().find(|package| package.name.as_str() == tests.package);
    let package = package.with_context(|| {
        format!(
            "workspace.metadata.uml.tests.package: the workspace has no package `{}`{}",
            tests.package,
            hint(&tests.package, packages.iter().map(|package| package.name.as_str()))
        )
    })?;
    let mut args: Vec<OsString> = ["test", "--no-run", "--test", "*"].map(OsString::from).to_vec();
    args.extend(["--package".into(), OsString::from(&tests.package)]);
    let by_default = || package.features.keys().filter(|name| *name == FEATURE).cloned().collect();
    let features: Vec<String> = tests.features.clone().unwrap_or_else(by_default);
    if !features.is_empty() {
        args.extend(["--features".into(), OsString::from(features.join(","))]);
    }
    let mut binaries = cargo(ctx, args)?;
    binaries.sort();
    Ok(binaries)
}

/// Runs cargo with the flags of guest programs, and collects the executables that it built.
fn cargo(ctx: &Ctx, args: Vec<OsString>) -> Result<Vec<TestBinary>> {
    ctx.hold_checkout()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut all = args;
    all.extend(
        [
            "--profile",
            PROFILE,
            "--target",
            TARGET,
            "--message-format",
            "json-render-diagnostics",
            "--manifest-path",
        ]
        .map(OsString::from),
    );
    all.push(ctx.layout.root().join("Cargo.toml").into());
    for line in PROFILE_CONFIG {
        all.extend(["--config".into(), line.into()]);
    }
    all.push("--target-dir".into());
    all.push(ctx.layout.guest_target().into());
    if !ctx.ui.is_verbose() {
        all.push("--quiet".into());
    }
    if ctx.options.network == Network::Offline {
        all.push("--offline".into());
    }
    ctx.ui.status("building the guest's programs");
    let (output, theirs) = std::io::pipe().context("cannot make a pipe")?;
    // Contained, it and all its compilers end with us.
    let mut contained =
        Contained::new(ctx.isolation()?, Ids::Own, cargo).args(&all).stdout_to(theirs.into());
    for (name, _) in std::env::vars_os() {
        // What cargo told us about xtask would make the inner cargo build everything anew.
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            contained = contained.env_remove(&name);
        }
    }
    // In the environment of this cargo alone: exported, the flags would reach xtask itself.
    let contained =
        contained.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", rustflags(ctx));
    let mut running = contained.spawn().context("cannot start cargo")?;
    let mut binaries = Vec::new();
    for message in Message::parse_stream(BufReader::new(Interruptible(output))) {
        cancel::check()?;
        let Message::CompilerArtifact(artifact) =
            message.context("cannot read cargo's messages")?
        else {
            continue;
        };
        if let Some(path) = artifact.executable {
            binaries.push(TestBinary { name: artifact.target.name, path: path.into() });
        }
    }
    match running.wait()?.success() {
        true => Ok(binaries),
        false => Err(TestBuildFailed.into()),
    }
}

/// Paths of this machine have no place in a program whose hash is part of an image's.
fn rustflags(ctx: &Ctx) -> String {
    let home = std::env::var("CARGO_HOME")
        .ok()
        .or_else(|| Some(format!("{}/.cargo", std::env::var("HOME").ok()?)));
    let mut flags: Vec<String> =
        ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"].map(Into::into).into();
    // The agent lies beside the engine; of several prefixes the last one counts.
    if let Some(engine) = defaults::dir().ancestors().nth(2) {
        flags.push(format!("--remap-path-prefix={}=/engine", engine.display()));
    }
    flags.push(format!("--remap-path-prefix={}=/work", ctx.layout.root().display()));
    flags.extend(home.map(|home| format!("--remap-path-prefix={home}=/cargo")));
    // A path may have spaces (cargo(1), CARGO_ENCODED_RUSTFLAGS).
    flags.join("\x1f")
}
