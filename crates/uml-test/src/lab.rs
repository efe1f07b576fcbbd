//! A scenario: more guests than the case's own, and networks between them. All of it ends with the case, and what the
//! kernel of any of its guests complains of counts against the case.
//!
//! ```no_run
//! use uml_test::{Lab, TestResult};
//!
//! # fn scenario() -> TestResult {
//! let lan = Lab::network("lan")?;
//! let server = Lab::guest("server").on(&lan).boot()?;
//! let client = Lab::guest("client").kernel("7.3").on(&lan).boot()?;
//! client.run("ping -c 1 server")?;
//! lan.unplug("server")?;
//! # Ok(())
//! # }
//! ```

use anyhow::Result;
use uml_protocol::lab::{NetworkSpec, Request, env};

mod connection;
mod disk;
mod files;
mod guest;
mod network;
mod plan;

use connection::Connection;
pub use disk::Disk;
pub use guest::{LabGuest, Ran};
pub use network::Network;
pub use plan::GuestPlan;

pub use uml_protocol::lab::{Autoconfiguration, InterfaceAddresses, Shape};

/// Where scenarios begin.
#[derive(Debug)]
pub struct Lab;

impl Lab {
    /// Makes a network: a switch of this case alone, which nothing else is plugged into.
    ///
    /// # Errors
    /// When there is one with that name, or the host cannot make it.
    pub fn network(name: &str) -> Result<Network> {
        let connection = Connection::open()?;
        connection.done(&Request::Network(NetworkSpec { name: name.into() }))?;
        Ok(Network { name: name.into(), connection })
    }

    /// The kernels of this run, any of which a guest can have.
    pub fn kernels() -> Vec<String> {
        let names = std::env::var(env::KERNELS).unwrap_or_default();
        names.lines().map(String::from).collect()
    }

    /// Makes a disk of so many bytes, all of them zero. It is in memory, outlives its guests, and goes with the case.
    ///
    /// # Errors
    /// When the host has no room for it.
    pub fn disk(size: u64) -> Result<Disk> {
        Disk::make(size)
    }

    /// Plans a guest with this name, by which others find it. It is of the case's own kernel unless another is named.
    pub fn guest(name: &str) -> GuestPlan {
        GuestPlan::new(name)
    }
}
