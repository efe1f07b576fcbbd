//! `cargo xtask ci`: what this project promises of itself.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser as _;
use xshell::{Shell, cmd};
use xtask::ctx::Ctx;
use xtask::doctor::{Consent, setup};

use super::Cli;

pub(super) fn run(ctx: &Ctx) -> Result<ExitCode> {
    setup(ctx, Consent::Given)?;
    let shell = Shell::new()?;
    shell.change_dir(ctx.layout.root());
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let step = |name: &str, command: xshell::Cmd<'_>| -> Result<()> {
        ctx.ui.line(&format!("{:>12} {name}", "ci"));
        command.quiet().run().map_err(|error| anyhow::anyhow!("{name}: {error}"))
    };
    step("formatting", cmd!(shell, "{cargo} fmt --all --check"))?;
    step(
        "lints",
        cmd!(
            shell,
            "{cargo} clippy --quiet --workspace --all-targets --all-features -- -D warnings"
        ),
    )?;
    step(
        "documentation",
        cmd!(shell, "{cargo} doc --quiet --workspace --no-deps --all-features")
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    // With all features the guest tests are built for the host too, and must refuse to run there.
    step("tests on the host", cmd!(shell, "{cargo} test --workspace --all-features"))?;
    let Cli { command, .. } = Cli::parse_from(["xtask", "test-in-uml", "--no-fail-fast"]);
    let super::Command::TestInUml(tests) = command else { bail!("the command line changed") };
    ctx.ui.line(&format!("{:>12} tests in guests", "ci"));
    tests.run(ctx)
}
