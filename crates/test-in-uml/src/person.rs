//! A person's guest: the image's full init, reached at its console or by commands, and known by a name while it runs.
//!
//! Whoever boots it holds it: the process of `shell`, or one in the background that `up` starts. Others find that process
//! by the guest's name, at a socket in a folder that is theirs alone, and get from it a connection to the guest; what they
//! do with it is between them and the guest.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::Scope;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::cancel::CancelToken;
use crate::config::ByteSize;
use crate::ctx::Ctx;
use crate::guest::{ByHand, Calibration, CommandLine, Cow, Init, LinkBy, address_space, sight};
use crate::guest_network::GuestNetwork;
use crate::kernel::KernelBinary;
use crate::rootfs::Image;
use crate::stage::{GuestCommand, GuestProcess, InterfaceEnd, Link, Share, Sight, Stage, cpus};
use crate::threads;

mod ask;
pub mod background;
mod command;
mod copy;
mod disk;
mod end;
mod message;
mod name;
mod registry;
mod server;
pub mod shell;

pub use ask::{about, end_at_once, end_in_order};
pub use command::{Ended, run_command};
pub use copy::{Place, copy};
use disk::Disks;
pub use disk::WantedDisk;
pub use end::GuestEnd;
pub use message::About;
pub use name::GuestName;
pub use registry::{Registered, names};
use server::Server;

/// What is booted.
#[derive(Debug)]
pub struct PersonPlan<'a> {
    /// What it is known by.
    pub name: &'a GuestName,
    /// The kernel.
    pub kernel: &'a KernelBinary,
    /// The image.
    pub image: &'a Image,
    /// A COW that stays, if any does.
    pub keep: Option<&'a Cow>,
    /// The guest's memory.
    pub memory: ByteSize,
    /// Its disks beside that of its root.
    pub disks: &'a [WantedDisk],
    /// More arguments for its kernel.
    pub arguments: &'a [String],
    /// Its place on a network of the host.
    pub network: Option<&'a GuestNetwork>,
}

impl PersonPlan<'_> {
    /// What others learn of the guest, which is powered on now; its console goes to this file, if it goes to one.
    fn about(&self, console: Option<&Path>) -> About {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        About {
            name: self.name.to_string(),
            kernel: self.kernel.name.clone(),
            release: self.kernel.release.clone(),
            memory: self.memory.to_string(),
            holder: std::process::id(),
            since: since.as_secs(),
            console: console.map(|path| path.display().to_string()),
            network: self.network.map(GuestNetwork::about),
        }
    }
}

/// A guest that is about to be powered on.
struct Guest<'a> {
    plan: &'a PersonPlan<'a>,
    stage: &'a Stage,
    link: Link,
    disks: Disks,
    /// Our end of its interface on a network.
    end: Option<InterfaceEnd>,
    argv: Vec<OsString>,
    sight: Sight,
    by_hand: String,
}

impl<'a> Guest<'a> {
    /// Prepares all that the guest is started with.
    fn prepare(ctx: &Ctx, stage: &'a Stage, plan: &'a PersonPlan<'a>, init: Init) -> Result<Self> {
        let (kernel, image) = (plan.kernel, plan.image.path());
        let shown_kernel = stage.expose(&kernel.path, &format!("kernel-{}", kernel.key))?;
        let shown_image = stage.expose(&image, &format!("image-{}", plan.image.key().as_str()))?;
        let link = stage.add_link(kernel.net_driver)?;
        let cow = match plan.keep {
            Some(kept) => stage.lend(kept.path(), "cow")?,
            None => Path::new(&link.dir()).join("cow"),
        };
        let disks = Disks::on(stage, plan.disks)?;
        let configured = ctx.config.kernels.get(&kernel.name);
        let mut arguments = configured.map_or_else(Vec::new, |kernel| kernel.append.clone());
        let mut interfaces = Vec::new();
        let mut end = None;
        if let Some(network) = plan.network {
            let interface = network.interface();
            end = Some(stage.add_interface(&link, &interface.name, kernel.net_driver)?);
            interfaces.push(interface);
            arguments.extend(network.arguments(kernel.net_driver));
        }
        arguments.extend_from_slice(plan.arguments);
        let line = CommandLine {
            disks: &disks.seen,
            interfaces: &interfaces,
            arguments: &arguments,
            kernel: &shown_kernel,
            cow: &cow,
            image: &shown_image,
            memory: plan.memory,
            link: &link,
            // The way out is by the network.
            link_by: if plan.network.is_some() { LinkBy::Agent } else { LinkBy::Kernel },
            net_driver: kernel.net_driver,
            attachment: stage.attachment(),
            init,
            nonce: ctx.run()?.id(),
            lpj: Calibration::of(&ctx.layout, &kernel.key).lpj(),
            era: kernel.era.boot,
        };
        let sight = sight(
            stage.host_files(&kernel.path)?,
            (&shown_kernel, &shown_image),
            plan.keep.map(|_| &*cow),
            &disks.seen,
        );
        let kept = plan.keep.map_or(&*cow, Cow::path);
        let by_hand = ByHand { kernel: &kernel.path, image: &image, cow: kept, line: &line };
        let by_hand = by_hand.to_string();
        let argv = line.argv();
        Ok(Self { plan, stage, link, disks, end, argv, sight, by_hand })
    }

    /// Powers it on, with this for its console.
    fn power_on(&self, console: OwnedFd) -> Result<GuestProcess<'a>> {
        let command = GuestCommand {
            argv: self.argv.clone(),
            sight: self.sight.clone(),
            share: Share { cpu: cpus().first().copied(), ..Share::default() },
            address_space: address_space(&self.plan.kernel.path, self.plan.memory),
            console,
        };
        self.stage.spawn(&self.link, &command)
    }

    /// Has it be reached by others, until it is over.
    fn serve<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        server: &'s Server<'_>,
        over: &'s CancelToken,
    ) -> Result<()> {
        threads::spawn_in(scope, || server.serve(over))?;
        if let (Some(network), Some(end)) = (self.plan.network, &self.end) {
            threads::spawn_in(scope, || network.serve(end, over))?;
        }
        Ok(())
    }

    /// What is left to do once it is gone.
    fn clear_away(&self, ctx: &Ctx) -> Result<()> {
        self.disks.give_back()?;
        if let Some(kept) = self.plan.keep {
            kept.take_back()?;
            ctx.ui.line(&kept.how_to_boot(&self.plan.kernel.name, &self.by_hand));
        }
        Ok(())
    }
}
