//! Parse, call, exit code.

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgAction, Args, Parser, Subcommand};
use xtask::cancel;
use xtask::ctx::{Ctx, Locking, Options};
use xtask::ui::Verbosity;
use xtask::{rootfs, suite};

/// Builds User Mode Linux kernels and images, boots guests and runs Rust tests in them.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Say every command too
    #[arg(short, long, global = true, action = ArgAction::SetTrue)]
    verbose: bool,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Fail rather than change uml.lock
    #[arg(long, global = true)]
    locked: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the image that guests boot from
    Image,
}

/// Exit codes, those of nextest where it has one.
mod code {
    pub const SETUP_FAILED: u8 = 96;
    pub const TEST_BUILD_FAILED: u8 = 101;
}

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = run(&cli);
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(exit_code(&error))
    })
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<cancel::Interrupted>() {
        cancel::EXIT_CODE
    } else if error.is::<suite::TestBuildFailed>() {
        code::TEST_BUILD_FAILED
    } else {
        code::SETUP_FAILED
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    xtask::isolation::refuse_sudo()?;
    cancel::install()?;
    let ctx = Ctx::new(cli.global.options())?;
    match &cli.command {
        Command::Image => {
            let agent = suite::agent(&ctx)?;
            let rootfs = rootfs::bootstrap(&ctx)?;
            let image = rootfs::build(&ctx, &rootfs, &agent)?;
            println!("{}", image.path().display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Global {
    fn options(&self) -> Options {
        let verbosity = match (self.verbose, self.quiet) {
            (true, _) => Verbosity::Verbose,
            (_, true) => Verbosity::Quiet,
            _ => Verbosity::Normal,
        };
        let locking = if self.locked { Locking::Locked } else { Locking::Update };
        Options { verbosity, locking }
    }
}
