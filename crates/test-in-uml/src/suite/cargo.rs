//! Runs cargo for what runs inside guests, which is linked statically: it then runs on every kernel from 3.0 up
//! and on any userland.

use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cargo_metadata::{Artifact, Message};

use super::rustflags::{self, TARGET};
use crate::cancel::Interruptible;
use crate::ctx::{Ctx, NetworkAccess};
use crate::defaults;
use crate::isolation::{Cmd, Output};

/// The cargo profile of everything that runs inside a guest: small, because each guest gets a copy, with a
/// test's checks on. It is said on the command line, so that a workspace need not have it.
const PROFILE: &str = "uml-guest";

const PROFILE_CONFIG: [&str; 5] = [
    "profile.uml-guest.inherits = \"dev\"",
    "profile.uml-guest.opt-level = 1",
    "profile.uml-guest.debug = false",
    "profile.uml-guest.strip = true",
    "profile.uml-guest.package.\"*\".opt-level = 3",
];

/// What the agent has beside it.
const AGENT_CONFIG: [&str; 2] = [
    // With them the standard library asks the kernel about each descriptor that it closes.
    "profile.uml-guest.package.uml-agent.debug-assertions = false",
    "profile.uml-guest.package.uml-agent.overflow-checks = true",
];

/// The tests do not compile; the exit code is 101, as nextest has it.
#[derive(Debug, thiserror::Error)]
#[error("what runs in guests does not compile")]
pub struct TestBuildFailed;

/// What cargo builds.
#[derive(Debug)]
pub enum Build<'a> {
    /// The agent, of the workspace's own dependencies. It is the same whatever flags the user has.
    Agent,
    /// Tests of the workspace at `root`.
    Tests {
        /// The workspace.
        root: &'a Path,
        /// True if it is another one than that of the configuration.
        is_foreign: bool,
        /// Which tests.
        args: Vec<String>,
    },
}

impl Build<'_> {
    fn root<'a>(&'a self, ctx: &'a Ctx) -> &'a Path {
        match self {
            Build::Agent => ctx.layout.root(),
            Build::Tests { root, .. } => root,
        }
    }

    /// The very cargo that runs us, but for a workspace that names a toolchain: rustup's finds that.
    fn program(&self) -> OsString {
        let own = std::env::var_os("CARGO").filter(|_| !self.has_own_toolchain());
        own.unwrap_or_else(|| "cargo".into())
    }

    /// Returns true if another workspace names its toolchain (The rustup book, overrides).
    fn has_own_toolchain(&self) -> bool {
        let Build::Tests { root, is_foreign: true, .. } = self else { return false };
        let files = ["rust-toolchain.toml", "rust-toolchain"];
        root.ancestors().any(|folder| files.iter().any(|file| folder.join(file).is_file()))
    }

    fn args(&self, ctx: &Ctx) -> Vec<OsString> {
        let own: &[&str] = match self {
            Build::Agent => &["build", "--package", "uml-agent", "--bin", "uml-agent"],
            Build::Tests { .. } => &["test", "--no-run"],
        };
        let mut args: Vec<OsString> = own.iter().map(Into::into).collect();
        if let Build::Tests { args: tests, .. } = self {
            args.extend(tests.iter().map(Into::into));
        }
        args.extend(["--profile", PROFILE, "--target", TARGET].map(Into::into));
        args.extend(["--message-format", "json-render-diagnostics"].map(Into::into));
        args.extend(["--manifest-path".into(), self.root(ctx).join("Cargo.toml").into()]);
        args.extend(["--target-dir".into(), ctx.layout.guest_target().into()]);
        // Of a package that a workspace does not have, cargo warns.
        let of_agent: &[&str] = match self {
            Build::Tests { is_foreign: true, .. } => &[],
            _ => &AGENT_CONFIG,
        };
        for line in PROFILE_CONFIG.iter().chain(of_agent) {
            args.extend(["--config".into(), line.into()]);
        }
        if !ctx.ui.is_verbose() {
            args.push("--quiet".into());
        }
        if ctx.options.network == NetworkAccess::Offline {
            args.push("--offline".into());
        }
        args
    }

    fn rustflags(&self, ctx: &Ctx) -> Result<Vec<String>> {
        let own = match self {
            Build::Agent => Vec::new(),
            Build::Tests { root, .. } => rustflags::of_user(root)?,
        };
        // Paths of this machine have no place in a program whose hash is part of an image's.
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        // The agent lies beside the engine.
        let engine = defaults::dir().ancestors().nth(2);
        let mut folders = Vec::new();
        folders.extend(engine.map(|engine| (engine, "/engine")));
        folders.push((self.root(ctx), "/work"));
        folders.extend(home.as_deref().map(|home| (home, "/cargo")));
        Ok([own, rustflags::of_guests(&folders)].concat())
    }
}

/// The variables by which cargo told us about xtask: with them another cargo would build everything anew.
pub fn told_of_xtask() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    })
}

/// Runs cargo, and collects what it built.
///
/// # Errors
/// [`TestBuildFailed`] when that does not compile; another when cargo cannot be run.
pub fn build(ctx: &Ctx, what: &Build<'_>) -> Result<Vec<Artifact>> {
    ctx.hold_checkout()?;
    ctx.ui.status("building the guest's programs");
    let (output, theirs) = std::io::pipe().context("cannot make a pipe")?;
    let mut cargo = Cmd::new(what.program()).args(what.args(ctx)).dir(what.root(ctx));
    for name in told_of_xtask() {
        cargo = cargo.env_remove(name);
    }
    if what.has_own_toolchain() {
        cargo = cargo.env_remove("RUSTUP_TOOLCHAIN");
    }
    // In the environment of this cargo alone: exported, the flags would reach xtask itself.
    let flags = rustflags::encoded(&what.rustflags(ctx)?);
    let cargo = cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags);
    let running = cargo.start(ctx.isolation()?, Output::Stdout(theirs.into()));
    let mut running = running.context("cannot start cargo")?;
    let mut artifacts = Vec::new();
    for message in
        Message::parse_stream(BufReader::new(Interruptible { output, cancel: ctx.cancel.clone() }))
    {
        ctx.cancel.check()?;
        if let Message::CompilerArtifact(artifact) =
            message.context("cannot read cargo's messages")?
        {
            artifacts.push(artifact);
        }
    }
    match running.wait()?.success() {
        true => Ok(artifacts),
        false => Err(TestBuildFailed.into()),
    }
}
