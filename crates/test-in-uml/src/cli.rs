//! Parse, call, exit code.

use std::process::ExitCode;
use std::time::Duration;

use crate::ctx::{Ctx, Locking, NetworkAccess, Options};
use crate::doctor::Consent;
use crate::inputs;
use crate::ui::{self, Verbosity};
use crate::{cancel, clean, invocation, isolation, rootfs, space, suite};
use anyhow::{Result, bail};
use clap::{ArgAction, ArgMatches, Args, CommandFactory as _, FromArgMatches, Parser, Subcommand};

mod bisect;
mod choice;
mod config;
mod doctor;
mod environment;
mod exit;
mod in_guest;
mod init;
mod kernels;
mod modules;
mod net;
mod own_command;
mod person;
mod report;
mod run_options;
mod run_plan;
mod shrink;
mod test_in_uml;
mod unit_tests;
mod walls;

use exit::{code, exit_code, wrong_usage};
use kernels::{Kernels, Sources};
use own_command::ARGUMENTS;
pub use own_command::OwnCommand;

/// Builds User Mode Linux kernels and images, boots guests and runs Rust tests in them.
#[derive(Debug, Parser)]
#[command(version)]
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
    /// Fail rather than change uml.lock or take another default kernel
    #[arg(long, global = true)]
    locked: bool,
    /// Open no connection to another machine; fail if something is missing
    #[arg(long, global = true)]
    offline: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Examine the host: what is missing, what that breaks, and the cure
    Doctor,
    /// Install the packages that are missing
    Setup {
        #[command(flatten)]
        yes: Yes,
    },
    /// Fetch the source of a kernel
    Fetch {
        #[command(flatten)]
        kernels: Kernels,
    },
    /// Build a kernel
    Kernel {
        #[command(flatten)]
        sources: Sources,
    },
    /// Build the image that guests boot from
    Image,
    /// Build everything, boot guests, and run the tests in them
    TestInUml(Box<test_in_uml::TestInUml>),
    /// Run a command whose test processes run in guests: `in-guest -- cargo nextest run`
    InGuest(Box<in_guest::InGuest>),
    /// Find the commit of a kernel's tree on which a case began to fail
    Bisect(bisect::Bisect),
    /// Show runs that are over in other formats, compare and merge them
    Report {
        #[command(subcommand)]
        what: report::Report,
    },
    /// Boot a guest with the image's own init, its console on this terminal
    Shell(person::Shell),
    /// Boot a guest in the background, where `exec` and `cp` find it by its name until `down`
    Up(person::Up),
    /// Run a command in a guest that runs, or log in
    Exec(person::Exec),
    /// Copy files and folders between the host and a guest that runs
    Cp(person::Cp),
    /// Show the guests that run in this checkout
    Ps,
    /// Switch guests off
    Down(person::Down),
    /// Make a network of the host for guests, and undo it
    Net {
        #[command(subcommand)]
        what: net::Net,
    },
    /// Remove what can be built again
    Clean {
        /// Also what checkouts share: downloads, kernels, images
        #[arg(long)]
        store: bool,
        /// Only what checkouts share and no run has used for this many days
        #[arg(long, value_name = "DAYS", conflicts_with = "store")]
        older_than: Option<u32>,
    },
    /// Have tests of another repository run in guests: writes what it needs, and overwrites nothing
    Init(init::InitArgs),
    /// Show the configuration that holds, and which files are the engine's and which the workspace's
    Config,
}

impl Command {
    /// Returns true if anything is made of what lies in the workspace's folders.
    fn reads_inputs(&self) -> bool {
        match self {
            Command::Doctor | Command::Setup { .. } | Command::Report { .. } => false,
            Command::Clean { .. } | Command::Init(_) | Command::Net { .. } => false,
            Command::Exec(_) | Command::Cp(_) | Command::Ps | Command::Down(_) => false,
            Command::Fetch { .. } | Command::Kernel { .. } | Command::Image => true,
            Command::TestInUml(_)
            | Command::InGuest(_)
            | Command::Bisect(_)
            | Command::Shell(_)
            | Command::Up(_)
            | Command::Config => true,
        }
    }
}

#[derive(Debug, Args)]
struct Yes {
    /// Install missing packages without asking (CI=true says so too)
    #[arg(long)]
    yes: bool,
}

impl Yes {
    fn consent(&self) -> Option<Consent> {
        self.given().then_some(Consent::Given)
    }

    fn given(&self) -> bool {
        self.yes || std::env::var_os("CI").is_some_and(|value| value == "true")
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Does what the command line says.
pub fn main(own: &[OwnCommand]) -> ExitCode {
    environment::settle();
    let mut command = Cli::command().name(invocation::command()).bin_name(invocation::command());
    command = command.subcommands(own.iter().map(OwnCommand::command));
    let matches = command.get_matches();
    let asked = matches.subcommand().and_then(|(name, of_own)| {
        let own = own.iter().find(|own| own.name == name)?;
        let arguments = own.arguments.and_then(|_| of_own.get_many::<String>(ARGUMENTS));
        Some((own.run, arguments.into_iter().flatten().cloned().collect::<Vec<_>>()))
    });
    let act = || match asked {
        Some((run, arguments)) => {
            isolation::refuse_sudo()?;
            in_workspace(&parsed::<Global>(&matches), |ctx| run(ctx, &arguments))
        }
        None => run(&parsed(&matches)),
    };
    let result = cancel::install().and_then(|()| act());
    result.unwrap_or_else(|error| {
        // Ctrl-C reaches the programs that we wait for too: that one of them failed says nothing.
        let error = if cancel::was_requested() { cancel::Interrupted.into() } else { error };
        ui::to_stderr(&format!("error: {error:#}"));
        ExitCode::from(exit_code(&error))
    })
}

fn run(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Init(args) => {
            args.run()?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Net { what } => return what.run(),
        _ => {}
    }
    isolation::refuse_sudo()?;
    in_workspace(&cli.global, |ctx| act(ctx, &cli.command))
}

fn parsed<T: FromArgMatches>(matches: &ArgMatches) -> T {
    T::from_arg_matches(matches).unwrap_or_else(|error| error.exit())
}

fn in_workspace(global: &Global, act: impl FnOnce(&Ctx) -> Result<ExitCode>) -> Result<ExitCode> {
    let ctx = Ctx::new(global.options())?;
    act(&ctx).map_err(|error| space::explain(error, &ctx.layout))
}

/// Does what `test-in-uml` does with these arguments; returns its exit code.
///
/// # Errors
/// When the set-up fails, or an argument is wrong.
pub fn test(ctx: &Ctx, args: &[&str]) -> Result<u8> {
    let Cli { command, .. } = Cli::try_parse_from([&["xtask", "test-in-uml"], args].concat())?;
    let Command::TestInUml(tests) = command else { bail!("{command:?} is not test-in-uml") };
    check_inputs(ctx)?;
    tests.run(ctx)
}

/// Says what lies in the workspace's folders and is not read.
fn check_inputs(ctx: &Ctx) -> Result<()> {
    for warning in inputs::check(ctx.layout.root(), ctx.config.kernels.values())? {
        ctx.ui.warn(&warning);
    }
    Ok(())
}

fn act(ctx: &Ctx, command: &Command) -> Result<ExitCode> {
    if command.reads_inputs() {
        check_inputs(ctx)?;
    }
    match command {
        Command::Doctor => return doctor::report(ctx),
        Command::Setup { yes } => {
            let consent = if yes.given() { Consent::Given } else { Consent::Ask };
            crate::doctor::setup(ctx, consent)?;
        }
        Command::Fetch { kernels } => kernels.fetch(ctx)?,
        Command::Kernel { sources } => {
            for kernel in sources.build(ctx)?.0 {
                ui::print(kernel.path.display())?;
            }
        }
        Command::Image => ui::print(image(ctx)?.path().display())?,
        Command::TestInUml(args) => return Ok(ExitCode::from(args.run(ctx)?)),
        Command::InGuest(args) => return args.run(ctx),
        Command::Bisect(args) => args.run(ctx)?,
        Command::Report { what } => return Ok(ExitCode::from(what.run(ctx)?)),
        Command::Shell(args) => return args.run(ctx),
        Command::Up(args) => return args.run(ctx),
        Command::Exec(args) => return args.run(ctx),
        Command::Cp(args) => args.run(ctx)?,
        Command::Ps => person::ps(ctx)?,
        Command::Down(args) => args.run(ctx)?,
        Command::Clean { store, older_than } => {
            let what = match (older_than, store) {
                (Some(days), _) => clean::What::UnusedFor(DAY * *days),
                (None, true) => clean::What::Store,
                (None, false) => clean::What::Checkout,
            };
            clean::clean(ctx, what)?;
        }
        // They need no workspace, and are done by now.
        Command::Init(_) | Command::Net { .. } => {}
        Command::Config => config::run(ctx)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the image and what goes into it.
///
/// # Errors
/// When it cannot be built.
pub fn image(ctx: &Ctx) -> Result<rootfs::Image> {
    let agent = suite::agent(ctx)?;
    let rootfs = rootfs::bootstrap(ctx)?;
    rootfs::build(ctx, &rootfs, &agent)
}

impl Global {
    fn options(&self) -> Options {
        let verbosity = match (self.verbose, self.quiet) {
            (true, _) => Verbosity::Verbose,
            (_, true) => Verbosity::Quiet,
            _ => Verbosity::Normal,
        };
        let locking = if self.locked { Locking::Locked } else { Locking::Update };
        let network = if self.offline { NetworkAccess::Offline } else { NetworkAccess::Online };
        Options { verbosity, locking, network }
    }
}
