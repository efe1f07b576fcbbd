//! A person's guest: the image's full init, with its console on the current terminal.
//!
//! The guest's console is a pseudo-terminal of ours. What is typed goes there, what it says comes
//! here, and whatever happens the terminal is given back as it was found.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::tempfile;

use crate::cancel;
use crate::config::ByteSize;
use crate::ctx::Ctx;
use crate::guest::{
    ByHand, Calibration, CommandLine, Cow, ExtraDisk, Init, LinkBy, address_space, with_disks,
};
use crate::kernel::KernelBinary;
use crate::rootfs::Image;
use crate::stage::{GuestCommand, Share, Stage, cpus};

mod escape;
mod session;
mod terminal;

pub use session::ShellEnd;
use session::ShellSession;
use terminal::{Pty, RawMode};

/// What is booted.
#[derive(Debug)]
pub struct ShellPlan<'a> {
    /// The kernel.
    pub kernel: &'a KernelBinary,
    /// The image.
    pub image: &'a Image,
    /// A COW that stays, if any does.
    pub keep: Option<&'a Cow>,
    /// The guest's memory.
    pub memory: ByteSize,
    /// The sizes of its disks beside that of its root.
    pub disks: &'a [ByteSize],
    /// More arguments for its kernel.
    pub arguments: &'a [String],
}

/// Boots a guest, connects its console with our standard input and output, and waits for its end.
///
/// # Errors
/// When the guest cannot be started, its kernel does not end in order, we were asked to stop, or
/// the terminal cannot be given back.
pub fn run(ctx: &Ctx, stage: &Stage, plan: &ShellPlan<'_>) -> Result<ShellEnd> {
    let (kernel, image) = (plan.kernel, plan.image.path());
    let shown_kernel = stage.expose(&kernel.path, &format!("kernel-{}", kernel.key))?;
    let shown_image = stage.expose(&image, &format!("image-{}", plan.image.key().as_str()))?;
    let link = stage.add_link(kernel.net_driver)?;
    let cow = match plan.keep {
        Some(kept) => stage.lend(kept.path(), "cow")?,
        None => Path::new(&link.dir()).join("cow"),
    };
    let disks = empty_disks(stage, plan.disks)?;
    let line = CommandLine {
        disks: &disks,
        interfaces: &[],
        arguments: plan.arguments,
        kernel: &shown_kernel,
        cow: &cow,
        image: &shown_image,
        memory: plan.memory,
        link: &link,
        link_by: LinkBy::Kernel,
        net_driver: kernel.net_driver,
        attachment: stage.attachment(),
        init: Init::Terminal,
        nonce: ctx.run()?.id(),
        lpj: Calibration::of(&ctx.layout, &kernel.key).lpj(),
        era: kernel.era.boot,
    };
    ctx.ui.line(&greeting(kernel));
    let pty = Pty::open()?;
    let console = pty.guest_end.try_clone().context("cannot duplicate a terminal")?;
    // From here on only the guest holds its end: the console closes when the guest is gone.
    let session = ShellSession::new(pty)?;
    cancel::before_exit(terminal::give_back);
    let raw = RawMode::enter()?;
    let share = Share { cpu: cpus().first().copied(), ..Share::default() };
    let sight = stage.host_files(&kernel.path)?.with(&shown_kernel).with(&shown_image);
    let sight = with_disks(sight, &disks);
    let command = GuestCommand {
        argv: line.argv(),
        sight: if plan.keep.is_some() { sight.with_lent(&cow) } else { sight },
        share,
        address_space: address_space(&kernel.path, plan.memory),
        console,
    };
    let process = stage.spawn(&link, &command)?;
    drop(command);
    let end = session.run(&ctx.cancel, process.status()?);
    drop(process);
    if let Some(raw) = raw {
        raw.leave()?;
    }
    if let Some(kept) = plan.keep {
        kept.take_back()?;
        let by_hand = ByHand { kernel: &kernel.path, image: &image, cow: kept.path(), line: &line };
        ctx.ui.line(&kept.how_to_boot(&kernel.name, &by_hand.to_string()));
    }
    end
}

fn empty_disks(stage: &Stage, sizes: &[ByteSize]) -> Result<Vec<ExtraDisk>> {
    let disks = sizes.iter().enumerate().map(|(index, size)| {
        let path = stage.make_disk(&format!("disk-{index}"), &tempfile()?, size.bytes())?;
        Ok(ExtraDisk { path, read_only: false })
    });
    disks.collect()
}

fn greeting(kernel: &KernelBinary) -> String {
    let mut text = format!("the console of a guest with Linux {} follows; ", kernel.release);
    let rest = if std::io::stdin().is_terminal() {
        "it is over when the guest is switched off, or at once with Ctrl-] q"
    } else {
        "it is over when the guest is switched off"
    };
    // Writing to a string does not fail.
    let _ = write!(text, "{rest}\nlog in as root or uml; the password is the name");
    text
}
