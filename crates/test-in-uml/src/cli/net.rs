//! `cargo xtask net`: networks of the host for guests of a person.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use nix::unistd::{User, geteuid};

use super::wrong_usage;
use crate::host_network::{self, Mode, NetworkName, Publish, Record, Subnet, Wanted};
use crate::isolation::OWN_EXE;
use crate::ui;

/// The guide's own.
const SUBNET: &str = "192.168.2.0/24";

/// The most taps of a network: their numbers have two digits.
const MOST_TAPS: i64 = 99;

#[derive(Debug, Subcommand)]
pub(super) enum Net {
    /// Make a network: a bridge of the host, with a tap for each guest
    Up(NetUp),
    /// Show the networks that there are
    Status,
    /// Undo all that was changed for a network
    Down {
        /// The network
        #[arg(default_value = "net")]
        name: NetworkName,
    },
}

#[derive(Debug, Args)]
pub(super) struct NetUp {
    /// What the network is called
    #[arg(default_value = "net")]
    name: NetworkName,
    /// Be on the network of an interface of the host, or on one of its own that reaches others by the host's address
    #[arg(long, value_enum, default_value_t)]
    mode: ModeName,
    /// The host's interface that leads to other machines [default with `nat`: that of the default route]
    #[arg(long, value_name = "INTERFACE", required_if_eq("mode", "bridge"))]
    uplink: Option<String>,
    /// The addresses of a network of its own; the first is the host's
    #[arg(long, default_value = SUBNET)]
    subnet: Subnet,
    /// Let others reach this port of a guest by one of the host, over TCP; may be repeated
    #[arg(long, value_name = "PORT:ADDRESS:PORT")]
    publish: Vec<Publish>,
    /// The number of guests it has room for
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=MOST_TAPS))]
    taps: u8,
    /// Whose guests may be there [default: yours]
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Take over the interface that carries the default route too
    #[arg(long)]
    yes: bool,
    /// Print the commands, and run none
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum ModeName {
    #[default]
    Nat,
    Bridge,
}

impl Net {
    pub fn run(&self) -> Result<ExitCode> {
        let tell = |line: &host_network::Line| ui::print(line);
        match self {
            Net::Up(args) if args.dry_run => {
                host_network::dry_run(&args.wanted()?)?.iter().try_for_each(tell)?;
            }
            Net::Status => return status(),
            Net::Up(_) | Net::Down { .. } if !geteuid().is_root() => return self.as_root(),
            Net::Up(args) => {
                let record = host_network::up(&args.wanted()?, &tell)?;
                ui::to_stderr(&about(&record));
            }
            Net::Down { name } => {
                if !host_network::down(name, &tell)? {
                    ui::to_stderr(&format!("no network `{name}` is up: nothing is left to undo"));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Does it again as root, and for whoever we are.
    fn as_root(&self) -> Result<ExitCode> {
        let exe = std::fs::read_link(OWN_EXE).context("cannot tell what we are")?;
        let mut sudo = Command::new("sudo");
        sudo.arg("--").arg(exe).args(std::env::args_os().skip(1));
        if matches!(self, Net::Up(NetUp { owner: None, .. })) {
            sudo.arg("--owner").arg(geteuid().to_string());
        }
        ui::to_stderr("the host's interfaces are root's: sudo(8) asks");
        let status = sudo.status().context("cannot start sudo: become root, and do it again")?;
        Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
    }
}

impl NetUp {
    fn wanted(&self) -> Result<Wanted> {
        let mode = match (self.mode, &self.uplink) {
            (ModeName::Bridge, Some(uplink)) => {
                if !self.publish.is_empty() {
                    let why = "guests of a bridge are reached as other machines are: `--publish` is for `nat`";
                    return Err(wrong_usage(anyhow!(why)));
                }
                Mode::Bridge { uplink: uplink.clone(), may_be_default: self.yes }
            }
            (ModeName::Bridge, None) => bail!("a bridge needs `--uplink`"),
            (ModeName::Nat, uplink) => Mode::Nat {
                subnet: self.subnet,
                uplink: uplink.clone(),
                publish: self.publish.clone(),
            },
        };
        Ok(Wanted { name: self.name.clone(), mode, taps: self.taps.into(), owner: self.owner()? })
    }

    fn owner(&self) -> Result<u32> {
        let Some(owner) = &self.owner else { return Ok(geteuid().as_raw()) };
        if let Ok(number) = owner.parse() {
            return Ok(number);
        }
        let user = User::from_name(owner).context("cannot look a user up")?;
        let user = user.with_context(|| format!("no user `{owner}` is on this host"));
        Ok(user.map_err(wrong_usage)?.uid.as_raw())
    }
}

/// A network in a line.
fn about(record: &Record) -> String {
    let Record { name, bridge, taps, owner, .. } = record;
    let place = match (&record.subnet, &record.uplink) {
        (Some(subnet), Some(uplink)) => format!("{subnet}, beyond it by {uplink}"),
        (Some(subnet), None) => format!("{subnet}, and nothing beyond it"),
        (None, Some(uplink)) => format!("that of {uplink}"),
        (None, None) => "nowhere".into(),
    };
    let owner =
        User::from_uid((*owner).into()).ok().flatten().map_or(owner.to_string(), |user| user.name);
    format!("{name}  {place}  bridge {bridge}, taps of {owner}: {}", taps.join(" "))
}

fn status() -> Result<ExitCode> {
    let mut wrong = 0;
    for name in host_network::names() {
        match Record::of(&name) {
            Ok(record) => ui::print(about(&record))?,
            Err(error) => {
                wrong += 1;
                ui::print(format!("{name}  {error:#}"))?;
            }
        }
    }
    ensure!(wrong == 0, "not every network is whole");
    Ok(ExitCode::SUCCESS)
}
