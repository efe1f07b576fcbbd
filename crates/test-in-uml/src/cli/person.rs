//! `cargo xtask shell`, `up`, `exec`, `cp`, `ps` and `down`: guests of a person.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::Args;

use super::kernels::Sources;
use super::walls::{Walls, WallsChoice};
use super::wrong_usage;
use crate::config::ByteSize;
use crate::ctx::Ctx;
use crate::doctor;
use crate::guest::Cow;
use crate::host_network::{NetworkName, Record};
use crate::kernel::KernelBinary;
use crate::person::{
    self, AddressBy, GuestEnd, GuestName, GuestNetwork, PersonPlan, Place, Registered,
};
use crate::rootfs::Image;
use crate::stage::Stage;
use crate::{invocation, ui};

mod up;

pub(super) use up::Up;

/// What is booted.
#[derive(Debug, Args)]
struct Machine {
    #[command(flatten)]
    sources: Sources,
    /// Keep the guest's disk, a COW of the image, in this file, or go on with the one that is there
    #[arg(long, value_name = "PATH")]
    keep: Option<PathBuf>,
    /// Memory of the guest, for example 512M [default: that of the configuration]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// One more disk of this size, empty, that goes with the guest: /dev/ubdb and so on; may be repeated
    #[arg(long = "disk", value_name = "SIZE")]
    disks: Vec<ByteSize>,
    /// One more argument for the guest's kernel; may be repeated
    #[arg(long = "append", value_name = "ARGUMENT", value_parser = kernel_argument)]
    arguments: Vec<String>,
    #[command(flatten)]
    network: NetworkChoice,
    #[command(flatten)]
    walls: WallsChoice,
}

/// Where a guest is on a network of the host.
#[derive(Debug, Args)]
struct NetworkChoice {
    /// Plug the guest into this network, which `net up` has made
    #[arg(long, value_name = "NETWORK")]
    net: Option<NetworkName>,
    /// Its address there, with its prefix [default: the network's own next, or by DHCP]
    #[arg(long, value_name = "ADDRESS/PREFIX", requires = "net", value_parser = address_with_prefix)]
    address: Option<(Ipv4Addr, u8)>,
    /// Have it ask there for an address by DHCP
    #[arg(long, requires = "net", conflicts_with = "address")]
    dhcp: bool,
    /// Its hardware address there [default: one of its name's own]
    #[arg(long, value_name = "MAC", requires = "net", value_parser = person::checked_mac)]
    mac: Option<String>,
}

fn address_with_prefix(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let parse = || {
        let (address, prefix) = text.split_once('/')?;
        Some((address.parse().ok()?, prefix.parse().ok().filter(|prefix| *prefix <= 32)?))
    };
    parse().ok_or_else(|| "an address has a prefix, as in 192.168.2.9/24".into())
}

impl NetworkChoice {
    /// Plugs the guest of that name in.
    fn plug(&self, guest: &GuestName) -> Result<Option<GuestNetwork>> {
        let Some(net) = &self.net else { return Ok(None) };
        let by = match (self.address, self.dhcp) {
            (Some((address, prefix)), _) => AddressBy::Person(address, prefix),
            (None, true) => AddressBy::Dhcp,
            (None, false) => AddressBy::Network,
        };
        Ok(Some(GuestNetwork::plug(Record::of(net)?, guest, by, self.mac.clone())?))
    }
}

/// What a guest is booted from.
struct Built {
    walls: Walls,
    memory: ByteSize,
    /// The number of bytes that it takes of a stage.
    size: u64,
    image: Image,
    kernel: KernelBinary,
    /// The default kernels whose source could not be reached, each in a line.
    passed_over: Vec<String>,
}

/// Checks one argument of a kernel. User Mode Linux writes them into one line, by blanks apart.
fn kernel_argument(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("an argument has no blanks: give `--append` once for each".into());
    }
    match text.split('=').next() {
        Some("mem") => Err("the guest's memory is for `--memory`".into()),
        Some(name) if name.starts_with("ubd") => Err("the guest's disks are for `--disk`".into()),
        _ => Ok(text.into()),
    }
}

impl Machine {
    /// Builds all that such a guest is booted from.
    fn build(&self, ctx: &Ctx) -> Result<Built> {
        if self.sources.wanted(ctx)?.len() > 1 {
            return Err(wrong_usage(anyhow!("this is for one guest: give `--kernel` once")));
        }
        doctor::ensure(ctx, None)?;
        let walls = self.walls.of(ctx)?;
        walls.ensure(ctx)?;
        let memory = self.memory.unwrap_or(ctx.config.memory);
        let size = match self.memory {
            Some(memory) => ctx.guest_size_with(memory)?,
            None => ctx.guest_size()?,
        };
        let disks: u64 = self.disks.iter().map(|size| size.bytes()).sum();
        let size = size.saturating_add(disks);
        let image = super::image(ctx)?;
        let (kernels, passed_over) = self.sources.build(ctx)?;
        let count = kernels.len();
        let Ok([kernel]) = <[KernelBinary; 1]>::try_from(kernels) else {
            bail!("one kernel is wanted, and {count} were built");
        };
        kernel.check_memory(memory)?;
        Ok(Built { walls, memory, size, image, kernel, passed_over })
    }

    /// Has such a guest run until its end.
    fn run(
        &self,
        ctx: &Ctx,
        name: &GuestName,
        run: impl FnOnce(&Stage, &PersonPlan<'_>) -> Result<GuestEnd>,
    ) -> Result<ExitCode> {
        let Built { walls, memory, size, image, kernel, passed_over } = self.build(ctx)?;
        let keep = self.keep.as_ref().map(|path| Cow::at(path, &image)).transpose()?;
        let network = self.network.plug(name)?;
        let stage = Stage::start(&walls.isolation, &walls.options(size))?;
        for line in passed_over {
            ctx.ui.warn(&line);
        }
        let plan = PersonPlan {
            name,
            kernel: &kernel,
            image: &image,
            keep: keep.as_ref(),
            memory,
            disks: &self.disks,
            arguments: &self.arguments,
            network: network.as_ref(),
        };
        let end = run(&stage, &plan)?;
        stage.shutdown()?;
        ctx.ui.say(match end {
            GuestEnd::Off => "the guest switched itself off",
            GuestEnd::Left => "the guest was cut off",
        });
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Args)]
pub(super) struct Shell {
    /// What others know the guest by: `exec` and `cp` work in it too [default: shell, or shell-2 and so on]
    #[arg(long, value_name = "GUEST")]
    name: Option<GuestName>,
    #[command(flatten)]
    machine: Machine,
}

impl Shell {
    pub fn run(&self, ctx: &Ctx) -> Result<ExitCode> {
        let (name, registered) = match &self.name {
            Some(name) => (name.clone(), Registered::claim(&ctx.layout, name)?),
            None => Registered::claim_any(&ctx.layout, "shell")?,
        };
        self.machine
            .run(ctx, &name, |stage, plan| person::shell::run(ctx, stage, plan, &registered))
    }
}

#[derive(Debug, Args)]
pub(super) struct Exec {
    /// The guest
    #[arg(value_name = "GUEST")]
    name: GuestName,
    /// Log in as this user, instead of being root
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The command and its arguments; without one, a login shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Exec {
    pub fn run(&self, ctx: &Ctx) -> Result<ExitCode> {
        let ended = person::run_command(ctx, &self.name, self.argv()?)?;
        Ok(ExitCode::from(ended.exit_code()))
    }

    /// What is run in the guest: whoever logs in gets that user's environment from runuser(1).
    fn argv(&self) -> Result<Vec<String>> {
        let log_in = |user: &str| vec!["runuser".into(), "-l".into(), user.into()];
        Ok(match (&self.user, self.command.as_slice()) {
            (user, []) => log_in(user.as_deref().unwrap_or("root")),
            (None, command) => command.to_vec(),
            (Some(user), command) => {
                let line = shlex::try_join(command.iter().map(String::as_str))?;
                [log_in(user), vec!["-c".into(), line]].concat()
            }
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct Cp {
    /// Files and folders, and where they go at last; `GUEST:PATH` is in a guest
    #[arg(required = true, num_args = 2.., value_name = "PATH")]
    places: Vec<Place>,
}

impl Cp {
    pub fn run(&self, ctx: &Ctx) -> Result<()> {
        let Some((to, from)) = self.places.split_last() else { return Ok(()) };
        person::copy(ctx, from, to)
    }
}

/// Shows the guests that run, on standard output.
pub(super) fn ps(ctx: &Ctx) -> Result<()> {
    for name in person::names(&ctx.layout) {
        let line = match person::about(&ctx.layout, &name) {
            Ok(about) => format!(
                "{name}  Linux {} ({})  {}  up {}{}{}",
                about.release,
                about.kernel,
                about.memory,
                humantime::format_duration(about.age()),
                about.network.map(|network| format!("  {network}")).unwrap_or_default(),
                about.console.map(|path| format!("  {path}")).unwrap_or_default(),
            ),
            // It boots, or has just ended.
            Err(error) => format!("{name}  {error:#}"),
        };
        ui::print(line)?;
    }
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct Down {
    /// The guests
    #[arg(required_unless_present = "all", value_name = "GUEST")]
    names: Vec<GuestName>,
    /// Every guest of this checkout
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Cut them off, as a power cut does
    #[arg(long)]
    now: bool,
}

impl Down {
    pub fn run(&self, ctx: &Ctx) -> Result<()> {
        let all = if self.all { person::names(&ctx.layout) } else { Vec::new() };
        let end = if self.now { person::end_at_once } else { person::end_in_order };
        // One that does not end does not keep the others.
        let ends = self.names.iter().chain(&all).map(|name| end(ctx, name));
        let failed: Vec<String> =
            ends.filter_map(|end| end.err()).map(|error| format!("{error:#}")).collect();
        ctx.cancel.check()?;
        if failed.is_empty() { Ok(()) } else { bail!(failed.join("\n")) }
    }
}

/// What to do with a guest that runs now.
fn what_next(name: &GuestName) -> String {
    let xtask = invocation::command();
    format!(
        "the guest `{name}` is up: `{xtask} exec {name}` logs in, `{xtask} cp FILE {name}:PATH` copies, \
         `{xtask} down {name}` switches it off"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_one_and_no_other_flags() {
        assert_eq!(kernel_argument("loglevel=8").unwrap(), "loglevel=8");
        assert_eq!(kernel_argument("quiet").unwrap(), "quiet");
        for (text, flag) in
            [("a b", "--append"), ("", "--append"), ("mem=1G", "--memory"), ("ubdb=/x", "--disk")]
        {
            let error = kernel_argument(text).unwrap_err();
            assert!(error.contains(flag), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_command_is_run_as_it_stands_or_by_a_users_shell() {
        let exec = |user: Option<&str>, command: &[&str]| Exec {
            name: "web".parse().unwrap(),
            user: user.map(String::from),
            command: command.iter().map(ToString::to_string).collect(),
        };
        let argv = |user, command: &[&str]| exec(user, command).argv().unwrap();
        assert_eq!(argv(None, &["echo", "a b"]), ["echo", "a b"]);
        assert_eq!(argv(None, &[]), ["runuser", "-l", "root"]);
        assert_eq!(argv(Some("uml"), &[]), ["runuser", "-l", "uml"]);
        assert_eq!(
            argv(Some("uml"), &["echo", "a b"]),
            ["runuser", "-l", "uml", "-c", "echo 'a b'"]
        );
    }
}
