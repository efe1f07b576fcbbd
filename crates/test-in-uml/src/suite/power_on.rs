//! Guests of a run are switched on here: those of seats, and those that cases ask for.

use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;

use super::plan::Target;
use crate::cancel::CancelToken;
use crate::config::ByteSize;
use crate::ctx::Ctx;
use crate::guest::{
    Calibration, Connect, Cow, Disk, ExtraDisk, Guest, GuestHost, GuestSpec, Init, Interface,
    LinkBy, boot,
};
use crate::rootfs::Image;
use crate::stage::Share;
use crate::store::Key;

/// What is wished of one guest.
#[derive(Debug)]
pub(super) struct Wishes<'w> {
    pub disk: Disk<'w>,
    /// Its memory, if it is not to have as much as any guest.
    pub memory: Option<ByteSize>,
    pub disks: &'w [ExtraDisk],
    pub interfaces: &'w [Interface],
    pub connect: Connect<'w>,
    pub arguments: &'w [String],
    /// What it runs, if that is not what the run says.
    pub init: Option<Init>,
    pub link_by: LinkBy,
    /// The time its boot may take, if it is not that of any guest.
    pub boot_timeout: Option<Duration>,
    /// Ends its boot and whatever it is asked for.
    pub cancel: &'w CancelToken,
}

impl<'w> Wishes<'w> {
    /// Of a guest for cases.
    pub fn of_cases(cow: Option<&'w Cow>, cancel: &'w CancelToken) -> Self {
        let disk = cow.map_or(Disk::Own, Disk::Kept);
        Self {
            disk,
            memory: None,
            disks: &[],
            interfaces: &[],
            connect: Connect::NONE,
            arguments: &[],
            init: None,
            link_by: LinkBy::Kernel,
            boot_timeout: None,
            cancel,
        }
    }
}

/// What guests are switched on with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Power<'a> {
    pub ctx: &'a Ctx,
    pub host: &'a dyn GuestHost,
    /// The image that they boot from.
    pub image: &'a Image,
    /// What they run, if nothing else is wished.
    pub init: Init,
    /// More arguments for their kernels, beside those of the configuration.
    pub append: &'a [String],
}

/// Boots a guest called `name`.
pub(super) fn power_on<'a>(
    power: Power<'a>,
    target: &Target,
    name: &str,
    share: Share,
    wishes: &Wishes<'_>,
) -> Result<Guest<'a>> {
    let Power { ctx, host, image, init, append } = power;
    let kernel = &target.kernel;
    let image_path = image.path();
    let shown_kernel = host.expose(&kernel.path, &format!("kernel-{}", kernel.key))?;
    let shown_image = host.expose(&image_path, &format!("image-{}", image.key().as_str()))?;
    let run = ctx.run()?;
    let nonce = Key::of(&(run.id(), name))?;
    let configured = ctx.config.kernels.get(&kernel.name);
    let arguments = configured.iter().flat_map(|kernel| &kernel.append).chain(append);
    let arguments: Vec<String> = arguments.chain(wishes.arguments).cloned().collect();
    let spec = GuestSpec {
        name,
        kernel: (&kernel.path, &shown_kernel),
        image: (&image_path, &shown_image),
        disk: wishes.disk,
        memory: wishes.memory.unwrap_or(ctx.config.memory),
        net_driver: kernel.net_driver,
        link_by: wishes.link_by,
        init: wishes.init.unwrap_or(init),
        disks: wishes.disks,
        interfaces: wishes.interfaces,
        connect: wishes.connect,
        arguments: &arguments,
        era: kernel.era.boot,
        known_boot_complaints: configured.map_or(&[], |kernel| &kernel.known_boot_complaints),
        nonce: &nonce.as_str()[..12],
        share,
        cancel: wishes.cancel,
        boot_timeout: wishes.boot_timeout.unwrap_or(ctx.config.boot_timeout),
        console_log: run.console_log(name),
    };
    boot_calibrated(power, target, &spec)
}

/// Boots a guest; the first of its kernel on this machine alone, because it measures the CPU.
fn boot_calibrated<'a>(
    power: Power<'a>,
    target: &Target,
    spec: &GuestSpec<'_>,
) -> Result<Guest<'a>> {
    let key = &target.kernel.key;
    let mut calibration = Calibration::of(&power.ctx.layout, key);
    let mut _alone = None;
    if calibration.lpj().is_none() {
        _alone = Some(target.calibrating.lock().unwrap_or_else(PoisonError::into_inner));
        calibration = Calibration::of(&power.ctx.layout, key);
    }
    boot(power.host, spec, &mut calibration)
}
