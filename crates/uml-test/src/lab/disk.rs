//! Disks of scenarios.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use uml_protocol::lab::Request;

use super::connection::Connection;

/// A disk, for one guest at a time.
#[derive(Debug)]
pub struct Disk {
    pub(super) name: String,
}

impl Disk {
    pub(super) fn make(size: u64) -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("disk-{}", MADE.fetch_add(1, Ordering::Relaxed));
        Connection::open()?.done(&Request::Disk { name: name.clone(), size })?;
        Ok(Self { name })
    }
}
