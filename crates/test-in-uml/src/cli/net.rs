//! `cargo xtask net`: networks of the host for guests of a person.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use nix::unistd::{User, geteuid};

use super::wrong_usage;
use crate::host_network::{
    self, Manager, Mode, NetworkName, Permanent, Plan, Publish, Record, Subnet, Wanted,
};
use crate::isolation::OWN_EXE;
use crate::{invocation, ui};

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
        /// Take back also what makes it at each boot
        #[arg(long)]
        permanent: bool,
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
    /// Have each boot make it too: shows the files that are written for that, and asks
    #[arg(long)]
    permanent: bool,
    /// The program that configures this host's interfaces at boot [default: the one that is found to]
    #[arg(long, value_enum, requires = "permanent")]
    manager: Option<Manager>,
    /// Take over the interface that carries the default route too, and write the files of `--permanent` unasked
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
                let plan = Plan::of(&args.wanted()?)?;
                plan.lines().try_for_each(|line| tell(&line))?;
                if args.permanent {
                    ui::print(plan.permanent(args.manager)?.difference().trim_end())?;
                }
            }
            Net::Status => return status(),
            Net::Up(_) | Net::Down { .. } if !geteuid().is_root() => return self.as_root(),
            Net::Up(args) => {
                let agreed = |plan: &Plan| args.agreed(plan);
                let (record, permanent) = host_network::up(&args.wanted()?, agreed, &tell)?;
                let by = permanent
                    .map(|permanent| format!("; {} makes it at each boot", permanent.manager()));
                ui::to_stderr(&(about(&record) + &by.unwrap_or_default()));
            }
            Net::Down { name, permanent } => down(name, *permanent, &tell)?,
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

/// Undoes a network, and says of what is left.
fn down(name: &NetworkName, permanent: bool, tell: host_network::Tell<'_>) -> Result<()> {
    let was_up = host_network::down(name, tell)?;
    if permanent {
        let bridge_stays = host_network::network(name).is_ok();
        if !host_network::down_permanent(name)? {
            ui::to_stderr(&format!(
                "no network `{name}` is permanent: no file is left to take back"
            ));
        } else if bridge_stays {
            ui::to_stderr(
                "no boot makes it from now on; what this one has made stays until the next",
            );
        }
        return Ok(());
    }
    let xtask = invocation::command();
    match host_network::all().into_iter().find(|(there, _)| there == name) {
        Some((_, Ok(Some(there)))) => {
            let comes = format!(
                "`{xtask} net down {name} --permanent` keeps it from coming at the next boot"
            );
            ensure!(
                was_up || !there.is_up(),
                "{} has made `{name}` at this boot; {comes}",
                there.manager()
            );
            ui::to_stderr(&comes);
        }
        _ if !was_up => {
            ui::to_stderr(&format!("no network `{name}` is up: nothing is left to undo"))
        }
        _ => {}
    }
    Ok(())
}

impl NetUp {
    /// The files that have each boot make the network, if that is asked for; who can be asked has agreed to them.
    fn agreed(&self, plan: &Plan) -> Result<Option<Permanent>> {
        if !self.permanent {
            return Ok(None);
        }
        let permanent = plan.permanent(self.manager)?;
        ui::to_stderr(permanent.difference().trim_end());
        if self.yes || ui::agreed("write these files", "`--yes` writes them unasked")? {
            return Ok(Some(permanent));
        }
        bail!("nothing was written, and no network made")
    }

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
    for (name, permanent) in host_network::all() {
        let seen = permanent.and_then(|permanent| match permanent {
            Some(permanent) if !permanent.is_up() => {
                Ok(format!("{name}  not up: {} makes it at the next boot", permanent.manager()))
            }
            permanent => {
                let by = permanent.map(|one| format!(", permanent by {}", one.manager()));
                Ok(about(&host_network::network(&name)?) + &by.unwrap_or_default())
            }
        });
        match seen {
            Ok(line) => ui::print(line)?,
            Err(error) => {
                wrong += 1;
                ui::print(format!("{name}  {error:#}"))?;
            }
        }
    }
    ensure!(wrong == 0, "not every network is whole");
    Ok(ExitCode::SUCCESS)
}
