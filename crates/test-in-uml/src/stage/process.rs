//! A guest's process, as its keeper sees it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Stage;
use super::withheld::Withheld;

/// A guest's process, as its keeper sees it. Dropping it ends the guest.
#[derive(Debug)]
pub struct GuestProcess<'a> {
    pub(super) stage: &'a Stage,
    pub(super) id: i32,
    pub(super) status: File,
    pub(super) withheld: Withheld,
}

impl GuestProcess<'_> {
    /// What tells how the guest ended; for a thread that waits for it.
    ///
    /// # Errors
    /// When the pipe cannot be duplicated.
    pub fn status(&self) -> Result<GuestStatus> {
        Ok(GuestStatus(self.status.try_clone().context("cannot duplicate a pipe")?))
    }

    /// How long its threads were ready to run and had no CPU, since it was started.
    pub fn withheld(&mut self) -> Duration {
        self.withheld.look(self.stage.child.id(), self.id)
    }

    /// By what its stage knows it.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Ends the guest and all of its helper processes at once.
    pub fn kill(&self) {
        self.stage.kill(self.id);
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
