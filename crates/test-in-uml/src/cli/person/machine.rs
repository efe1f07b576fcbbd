//! What a person's guest is made of, as the command line says it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::Args;

use crate::cli::kernels::{Source, Sources, WantedKernel};
use crate::cli::walls::{Walls, WallsChoice};
use crate::cli::{image, wrong_usage};
use crate::config::{ByteSize, kernel_argument};
use crate::ctx::Ctx;
use crate::guest::Cow;
use crate::guest_network::{AddressBy, GuestNetwork, checked_mac};
use crate::host_network::{self, NetworkName};
use crate::kernel::KernelBinary;
use crate::person::{GuestEnd, GuestName, PersonPlan, WantedDisk};
use crate::report::Again;
use crate::rootfs::Image;
use crate::stage::Stage;

/// What is booted.
#[derive(Debug, Args)]
pub(super) struct Machine {
    #[command(flatten)]
    sources: Sources,
    /// Keep the guest's disk, a COW of the image, in this file, or go on with the one that is there
    #[arg(long, value_name = "PATH")]
    keep: Option<PathBuf>,
    /// Memory of the guest, for example 512M [default: that of the configuration]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// One more disk, /dev/ubdb and so on: an empty one of this size, that goes with the guest, or this file; may be repeated
    #[arg(long = "disk", value_name = "SIZE|FILE")]
    disks: Vec<WantedDisk>,
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
    /// Let the guest reach what this host reaches, by passt(1); needs no privilege
    #[arg(long, conflicts_with_all = ["net", "address", "dhcp"])]
    online: bool,
    /// With `--online`, let others reach this port of the guest by one of the host, over TCP; may be repeated
    #[arg(long, value_name = "PORT:PORT", requires = "online", value_parser = two_ports)]
    publish: Vec<(u16, u16)>,
    /// Its hardware address there [default: one of its name's own]
    #[arg(long, value_name = "MAC", value_parser = checked_mac)]
    mac: Option<String>,
}

fn two_ports(text: &str) -> Result<(u16, u16), String> {
    let parse = || {
        let (port, to) = text.split_once(':')?;
        Some((port.parse().ok()?, to.parse().ok()?))
    };
    parse().ok_or_else(|| "a port of the host and one of the guest, as in 8080:80".into())
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
    fn plug(&self, ctx: &Ctx, guest: &str) -> Result<Option<GuestNetwork>> {
        if self.online {
            let mac = self.mac.clone();
            return GuestNetwork::online(&ctx.cancel, guest, &self.publish, mac).map(Some);
        }
        let Some(net) = &self.net else {
            if self.mac.is_some() {
                let why = "`--mac` is for a guest on a network: `--net` or `--online`";
                return Err(wrong_usage(anyhow!(why)));
            }
            return Ok(None);
        };
        let by = match (self.address, self.dhcp) {
            (Some((address, prefix)), _) => AddressBy::Person(address, prefix),
            (None, true) => AddressBy::Dhcp,
            (None, false) => AddressBy::Network,
        };
        Ok(Some(GuestNetwork::plug(host_network::network(net)?, guest, by, self.mac.clone())?))
    }
}

/// What a guest is booted from.
pub(super) struct Built {
    walls: Walls,
    memory: ByteSize,
    /// The number of bytes that it takes of a stage.
    size: u64,
    image: Image,
    kernel: KernelBinary,
    /// The default kernels whose source could not be reached, each in a line.
    passed_over: Vec<String>,
}

impl Machine {
    /// Builds all that such a guest is booted from; the kernel of a case that is to be run in it, if no other is named.
    pub fn build(&self, ctx: &Ctx, replayed: Option<&Again>) -> Result<Built> {
        if self.sources.wanted(ctx)?.len() > 1 {
            return Err(wrong_usage(anyhow!("this is for one guest: give `--kernel` once")));
        }
        let walls = self.walls.ensured(ctx, None)?;
        let memory = self.memory.unwrap_or(ctx.config.memory);
        let size = match self.memory {
            Some(memory) => ctx.guest_size_with(memory)?,
            None => ctx.guest_size()?,
        };
        let disks: u64 = self.disks.iter().map(WantedDisk::size).sum();
        let size = size.saturating_add(disks);
        let image = image(ctx)?;
        let (kernels, passed_over) = match replayed {
            Some(again) if !self.sources.are_named() => {
                let named = WantedKernel::named(ctx, &again.kernel, Source::Configured)?;
                let (kernel, passed_over) = named.build(ctx)?;
                (vec![kernel], passed_over)
            }
            _ => self.sources.build(ctx)?,
        };
        let count = kernels.len();
        let Ok([kernel]) = <[KernelBinary; 1]>::try_from(kernels) else {
            bail!("one kernel is wanted, and {count} were built");
        };
        kernel.check_memory(memory)?;
        Ok(Built { walls, memory, size, image, kernel, passed_over })
    }

    /// Has such a guest run until its end.
    pub fn run(
        &self,
        ctx: &Ctx,
        name: &GuestName,
        replayed: Option<&Again>,
        run: impl FnOnce(&Stage, &PersonPlan<'_>) -> Result<GuestEnd>,
    ) -> Result<ExitCode> {
        let Built { walls, memory, size, image, kernel, passed_over } =
            self.build(ctx, replayed)?;
        let keep = self.keep.as_ref().map(|path| Cow::at(path, &image)).transpose()?;
        let network = self.network.plug(ctx, &name.to_string())?;
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
