//! The links of guests, and their interfaces beside these.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};

use super::channel::StageRequest;
use super::door::Door;
use super::host_stack::HostStack;
use super::{Attachment, InterfaceEnd, Link, Stage};
use crate::kernel::NetDriver;

impl Stage {
    /// What the network interfaces of guests are attached to.
    pub fn attachment(&self) -> Attachment {
        self.attachment
    }

    /// Adds a link for one more guest, whose network has that driver.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn add_link(&self, driver: NetDriver) -> Result<Link> {
        let link = Link::numbered(&self.dir, self.guests.fetch_add(1, Ordering::Relaxed))?;
        self.ask(&StageRequest::AddLink { index: link.index() }, &[])
            .context("cannot make a link for a guest")?;
        if self.attachment == Attachment::Socket {
            let end = self.add_interface(&link, &link.interface(), driver)?;
            let stack = HostStack::start(link.ends(driver), end)?;
            self.host_stacks().insert(link.index(), Arc::new(stack));
        }
        Ok(link)
    }

    /// Gives the guest of a link one more interface, called `name` on the host. Returns the host's end of it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn add_interface(
        &self,
        link: &Link,
        name: &str,
        driver: NetDriver,
    ) -> Result<InterfaceEnd> {
        let (index, name) = (link.index(), name.into());
        let request = StageRequest::AddInterface { index, name, driver };
        let (_, fds) = self.ask(&request, &[]).context("cannot give a guest one more interface")?;
        match self.attachment {
            Attachment::Tap => {
                let packets = fds.into_iter().next().context("the stage sent no socket")?;
                Ok(InterfaceEnd::of_tap(packets))
            }
            Attachment::Socket => InterfaceEnd::of_door(Door::of(fds)?),
        }
    }

    pub(super) fn host_stacks(&self) -> MutexGuard<'_, BTreeMap<u16, Arc<HostStack>>> {
        self.host_stacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the link of a guest that is gone, with its COW and all else in its folder.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_link(&self, link: &Link) -> Result<()> {
        self.host_stacks().remove(&link.index());
        self.ask(&StageRequest::RemoveLink { index: link.index() }, &[])
            .context("cannot remove the link of a guest")?;
        Ok(())
    }
}
