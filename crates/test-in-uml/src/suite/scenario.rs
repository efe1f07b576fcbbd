//! Guests for the scenarios of cases.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};

use super::plan::Target;
use super::power_on::{Wishes, power_on};
use super::session::RunSession;
use crate::guest::{Cow, Disk, Init, Interface, LinkBy, plugged_in};
use crate::host::memory_left;
use crate::lab::{ATTENTION, GuestMaker, GuestOrder, MadeGuest};
use crate::stage::{InterfaceEnd, Link, Share};

/// Makes the guests that a case on this kernel asks for.
pub(super) struct ScenarioMaker<'a, 'r> {
    session: &'r RunSession<'a>,
    target: &'r Arc<Target>,
    /// The link of the case's own guest.
    link: Link,
    made: AtomicUsize,
}

impl<'a, 'r> ScenarioMaker<'a, 'r> {
    pub fn new(session: &'r RunSession<'a>, target: &'r Arc<Target>, link: Link) -> Self {
        Self { session, target, link, made: AtomicUsize::new(0) }
    }

    /// The kernel with that name, if this run has it; waits while it is being built.
    fn target(&self, kernel: Option<&str>, wanted: &dyn Fn() -> bool) -> Result<Arc<Target>> {
        match kernel {
            None => Ok(Arc::clone(self.target)),
            Some(name) if name == self.target.kernel.name => Ok(Arc::clone(self.target)),
            Some(name) => self.session.queue.ready(name, ATTENTION, wanted).with_context(|| {
                format!("kernel {name} is none of this run: name it too, with --kernel {name}")
            }),
        }
    }
}

impl<'a> GuestMaker<'a> for ScenarioMaker<'a, '_> {
    fn make(&self, order: &GuestOrder<'_>, wanted: &dyn Fn() -> bool) -> Result<MadeGuest<'a>> {
        let session = self.session;
        let target = self.target(order.kernel, wanted)?;
        let wanted = order.memory.unwrap_or(session.ctx.config.memory);
        let most = session.ctx.guest_size()?;
        ensure!(
            wanted.bytes() <= most,
            "a guest of {wanted} is more than guests of this run may have, {} MiB: give them more `memory`",
            most >> 20
        );
        let left = memory_left().unwrap_or(u64::MAX);
        ensure!(
            wanted.bytes() < left,
            "a guest of {wanted} does not fit: {} MiB of memory are available",
            left >> 20
        );
        // They go round the CPUs, whoever else is there.
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let share = Share::of_guests(number + 1).pop().unwrap_or_default();
        let name = target.next_name();
        let net_driver = target.kernel.net_driver;
        let mut arguments = order.arguments.to_vec();
        arguments.extend(order.kernel_ip.map(|ip| ip.argument(net_driver)));
        let wishes = Wishes {
            disk: Disk::OnStage(order.disk),
            memory: order.memory,
            disks: order.disks,
            interfaces: order.interfaces,
            connect: order.connect,
            arguments: &arguments,
            init: Some(Init::Agent),
            link_by: LinkBy::Agent,
            boot_timeout: None,
            cancel: order.cancel,
        };
        let guest = power_on(session.power(), &target, &name, share, &wishes)?;
        let console = session.ctx.run()?.console_log(&name);
        let kernel = target.kernel.name.clone();
        Ok(MadeGuest { guest, kernel, net_driver, console })
    }

    fn add_interface(&self, number: usize, mac: String) -> Result<(String, InterfaceEnd)> {
        // Another case in the same guest may have had some.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("own{}", MADE.fetch_add(1, Ordering::Relaxed));
        let (host, net_driver) = (self.session.host, self.target.kernel.net_driver);
        let end = host.add_interface(&self.link, &name, net_driver)?;
        let on = (host.attachment(), &self.link);
        let argument = plugged_in(net_driver, number, &Interface { name, mac }, on);
        host.mconsole(&self.link, &format!("config {argument}"))?;
        Ok((net_driver.interface(number), end))
    }

    fn kill(&self, process: i32) {
        self.session.host.kill(process);
    }

    fn make_root(&self, name: &str) -> Result<PathBuf> {
        let cow = Cow::nameless(self.session.plan.image)?;
        let size = cow.metadata()?.len();
        self.session.host.make_disk(name, &cow, size)
    }

    fn make_disk(&self, name: &str, size: u64) -> Result<PathBuf> {
        let most = self.session.ctx.guest_size()?;
        ensure!(size <= most, "a disk of {} MiB does not fit: {} MiB do", size >> 20, most >> 20);
        self.session.host.make_disk(name, &tempfile::tempfile()?, size)
    }

    fn remove_disk(&self, name: &str) -> Result<()> {
        self.session.host.remove_disk(name)
    }
}
