//! A guest's process, as its keeper sees it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::withheld::Withheld;
use super::{Stage, handle};

/// A guest's process, as its keeper sees it. Dropping it ends the guest.
#[derive(Debug)]
pub struct GuestProcess<'a> {
    stage: &'a Stage,
    id: i32,
    /// Nothing where the kernel has no handles.
    handle: Option<OwnedFd>,
    status: File,
    withheld: Withheld,
}

impl<'a> GuestProcess<'a> {
    /// The process whose keeper the stage knows by that number.
    pub(super) fn new(stage: &'a Stage, id: i32, handle: Option<OwnedFd>, status: OwnedFd) -> Self {
        Self { stage, id, handle, status: status.into(), withheld: Withheld::default() }
    }

    /// What tells how the guest ended; for a thread that waits for it.
    ///
    /// # Errors
    /// When the pipe cannot be duplicated.
    pub fn status(&self) -> Result<GuestStatus> {
        Ok(GuestStatus(self.status.try_clone().context("cannot duplicate a pipe")?))
    }

    /// The time its threads were ready to run and had no CPU, since it was started.
    pub fn withheld(&mut self) -> Duration {
        self.withheld.look(self.stage.child.id().cast_signed(), self.id)
    }

    /// By what its stage knows it.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Ends the guest and all of its helper processes at once.
    pub fn kill(&self) {
        // The stage itself may have been stopped.
        if self.handle.as_ref().is_none_or(|handle| handle::kill(handle).is_err()) {
            self.stage.kill(self.id);
        }
    }
}

impl Drop for GuestProcess<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The pipe that a keeper writes the guest's end to.
#[derive(Debug)]
pub struct GuestStatus(File);

impl AsFd for GuestStatus {
    /// Readable once the guest has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl GuestStatus {
    /// Told by what is written to the other end of this pipe.
    #[cfg(test)]
    pub(crate) fn read_from(pipe: File) -> Self {
        Self(pipe)
    }

    /// Waits for the guest's end: its status, or nothing if its keeper was killed.
    ///
    /// # Errors
    /// When the pipe breaks in the middle of a status.
    pub fn wait(mut self) -> Result<Option<ExitStatus>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).context("cannot read a guest's status")?;
        if bytes.is_empty() {
            return Ok(None);
        }
        ensure!(bytes.len() == 4, "a guest's status has {} bytes", bytes.len());
        let mut raw = [0; 4];
        raw.copy_from_slice(&bytes);
        Ok(Some(ExitStatus::from_raw(i32::from_ne_bytes(raw))))
    }
}
