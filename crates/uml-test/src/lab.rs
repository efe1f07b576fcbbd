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

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::{Result, bail, ensure};
use uml_protocol::lab::{DiskUse, GuestSpec, NetworkSpec, Reply, Request, Task, env};
use uml_protocol::wire::ProcessEnd;

use crate::TestResult;
use crate::part::offset_of;

mod connection;
mod disk;
mod network;

use connection::{Connection, unexpected};
pub use disk::Disk;
pub use network::Network;

pub use uml_protocol::lab::Shape;

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
        GuestPlan(GuestSpec { name: name.into(), ..GuestSpec::default() })
    }
}

/// A guest that is not there yet.
#[derive(Debug, Clone)]
pub struct GuestPlan(GuestSpec);

impl GuestPlan {
    /// Gives it this kernel, by its name in the configuration. It has to be one of those that are tested.
    #[must_use]
    pub fn kernel(mut self, name: &str) -> Self {
        self.0.kernel = Some(name.into());
        self
    }

    /// Gives it so much memory, in MiB.
    #[must_use]
    pub fn memory(mut self, mib: u32) -> Self {
        self.0.memory = Some(mib);
        self
    }

    /// Gives it one more interface, in this network.
    #[must_use]
    pub fn on(mut self, network: &Network) -> Self {
        self.0.networks.push(network.name.clone());
        self
    }

    /// Gives it one more disk: the first is `/dev/ubdb`, the next `/dev/ubdc`.
    #[must_use]
    pub fn disk(self, disk: &Disk) -> Self {
        self.with_disk(disk, false)
    }

    /// The same, and it cannot write to it.
    #[must_use]
    pub fn read_only_disk(self, disk: &Disk) -> Self {
        self.with_disk(disk, true)
    }

    fn with_disk(mut self, disk: &Disk, read_only: bool) -> Self {
        self.0.disks.push(DiskUse { name: disk.name.clone(), read_only });
        self
    }

    /// Gives its kernel one more argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.0.arguments.push(argument.into());
        self
    }

    /// Boots it, and gives its interfaces their addresses.
    ///
    /// # Errors
    /// When it does not come up, or the host has no room for it.
    pub fn boot(self) -> Result<LabGuest> {
        let name = self.0.name.clone();
        let connection = Connection::open()?;
        connection.done(&Request::Guest(self.0))?;
        let mut guest = LabGuest { name, addresses: Vec::new(), connection };
        guest.boot()?;
        Ok(guest)
    }
}

/// A guest of a scenario. Dropping it switches it off.
#[derive(Debug)]
pub struct LabGuest {
    name: String,
    addresses: Vec<Ipv4Addr>,
    connection: Connection,
}

/// How something that a guest ran ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How its process ended.
    pub end: ProcessEnd,
    /// What it wrote to standard output and standard error.
    pub output: String,
}

impl LabGuest {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address in the first of its networks.
    ///
    /// # Panics
    /// When it is in none.
    pub fn address(&self) -> Ipv4Addr {
        self.addresses[0]
    }

    /// Its addresses, in the order of its networks.
    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.addresses
    }

    /// Runs a line of shell as root; returns what it wrote. What it starts in the background stays until the guest
    /// ends.
    ///
    /// # Errors
    /// When it ends with anything but 0, or the guest ends meanwhile.
    pub fn run(&self, command: &str) -> Result<String> {
        let Ran { end, output } = self.try_run(command)?;
        let name = &self.name;
        ensure!(end == ProcessEnd::Code(0), "{name}: `{command}`: {}: {output}", Ended(end));
        Ok(output)
    }

    /// The same, and says how it ended.
    ///
    /// # Errors
    /// When the guest ends meanwhile.
    pub fn try_run(&self, command: &str) -> Result<Ran> {
        self.task(Task::Command(command.into()))
    }

    /// Has it call a function of this test file, or a closure that captures nothing.
    ///
    /// # Errors
    /// When the function fails or panics, or the guest ends meanwhile.
    pub fn call(&self, function: fn() -> TestResult) -> Result<()> {
        self.function(function as usize, None)
    }

    /// The same with a text for the function.
    ///
    /// # Errors
    /// As [`LabGuest::call`].
    pub fn call_with(&self, function: fn(&str) -> TestResult, argument: &str) -> Result<()> {
        self.function(function as usize, Some(argument.into()))
    }

    fn function(&self, function: usize, argument: Option<String>) -> Result<()> {
        let Ran { end, output } =
            self.task(Task::Function { offset: offset_of(function), argument })?;
        ensure!(end == ProcessEnd::Code(0), "{}: {}: {output}", self.name, Ended(end));
        Ok(())
    }

    fn task(&self, task: Task) -> Result<Ran> {
        match self.connection.ask(&Request::Run(task))? {
            Reply::Ran { end, output } => {
                Ok(Ran { end, output: String::from_utf8_lossy(&output).into_owned() })
            }
            Reply::Ended(how) => bail!("{}: {how}", self.name),
            other => unexpected(&other),
        }
    }

    /// Ends it at once, as a power cut does: what it had not written to its disk is lost. What another thread of the
    /// test has it do fails.
    ///
    /// # Errors
    /// When it is not there.
    pub fn kill(&self) -> Result<()> {
        // Its own connection may be waiting for what it is doing.
        Connection::open()?.done(&Request::Kill(self.name.clone()))
    }

    /// Asks it to switch itself off, and waits for that.
    ///
    /// # Errors
    /// When it does not.
    pub fn power_off(&self) -> Result<()> {
        self.connection.done(&Request::PowerOff)
    }

    /// Boots it again, with the disk that it had.
    ///
    /// # Errors
    /// When it is there already, or does not come up.
    pub fn boot(&mut self) -> Result<()> {
        match self.connection.ask(&Request::Boot)? {
            Reply::Booted { addresses } => {
                self.addresses = addresses;
                Ok(())
            }
            Reply::Ended(how) => bail!("{}: {how}", self.name),
            other => unexpected(&other),
        }
    }

    /// The lines of its console, since it was first booted.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn log(&self) -> Result<Vec<String>> {
        match self.connection.ask(&Request::Log)? {
            Reply::Log(lines) => Ok(lines),
            other => unexpected(&other),
        }
    }

    /// Declares that its kernel will say this, and that this is no failure.
    ///
    /// # Errors
    /// When the host cannot note it.
    pub fn expect_kernel(&self, text: &str) -> Result<()> {
        self.connection.done(&Request::ExpectMessage(text.into()))
    }

    /// Declares that it will end by itself, with this among its last words.
    ///
    /// # Errors
    /// When the host cannot note it.
    pub fn expect_death(&self, text: &str) -> Result<()> {
        self.connection.done(&Request::ExpectDeath(text.into()))
    }
}

/// The end of a process, in words.
struct Ended(ProcessEnd);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ProcessEnd::Code(code) => write!(f, "exit code {code}"),
            ProcessEnd::Signal(signal) => write!(f, "signal {signal}"),
            ProcessEnd::TimedOut => write!(f, "it took too long"),
        }
    }
}
