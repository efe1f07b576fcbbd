//! A guest of a scenario.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail, ensure};
use uml_protocol::lab::{InterfaceAddresses, Reply, Request, Task};
use uml_protocol::wire::ProcessEnd;

use super::connection::{Connection, unexpected};
use super::files;
use crate::TestResult;
use crate::part::offset_of;

/// A guest of a scenario. Dropping it switches it off.
#[derive(Debug)]
pub struct LabGuest {
    pub(super) name: String,
    pub(super) addresses: Vec<InterfaceAddresses>,
    pub(super) connection: Connection,
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
        self.addresses[0].v4
    }

    /// Its IPv6 address in the first of its networks; others know it as `ip6-` and its name.
    ///
    /// # Panics
    /// When it is in none.
    pub fn ipv6_address(&self) -> Ipv6Addr {
        self.addresses[0].v6
    }

    /// The hardware address of its first interface, as it is written.
    ///
    /// # Panics
    /// When it is in no network.
    pub fn mac(&self) -> String {
        self.addresses[0].mac_text()
    }

    /// Its addresses, in the order of its networks.
    pub fn addresses(&self) -> &[InterfaceAddresses] {
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
        let (end, output) = self.task(Task::Command(command.into()))?;
        Ok(Ran { end, output: String::from_utf8_lossy(&output).into_owned() })
    }

    /// Has it call a function of this test file, or a closure that captures nothing.
    ///
    /// # Errors
    /// When the function fails or panics, or the guest ends meanwhile.
    pub fn call(&self, function: fn() -> TestResult) -> Result<()> {
        self.function(function as usize, None).map(drop)
    }

    /// The same with a text for the function.
    ///
    /// # Errors
    /// As [`LabGuest::call`].
    pub fn call_with(&self, function: fn(&str) -> TestResult, argument: &str) -> Result<()> {
        self.function(function as usize, Some(argument.into())).map(drop)
    }

    /// Writes a file in it, of any size; a longer one that was there is cut.
    ///
    /// # Errors
    /// When the file cannot be written, or the guest ends meanwhile.
    pub fn write_file(&self, path: &str, contents: &[u8]) -> Result<()> {
        files::pieces(path, contents).try_for_each(|piece| self.call_with(files::write, &piece))
    }

    /// Reads a file in it, of any size.
    ///
    /// # Errors
    /// When the file cannot be read, or the guest ends meanwhile.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        let mut contents = Vec::new();
        loop {
            let from = files::at(path, contents.len());
            let piece = self.function(files::read as fn(&str) -> _ as usize, Some(from))?;
            if piece.is_empty() {
                return Ok(contents);
            }
            contents.extend(piece);
        }
    }

    /// Has it call a function; returns what that wrote.
    fn function(&self, function: usize, argument: Option<String>) -> Result<Vec<u8>> {
        let (end, output) = self.task(Task::Function { offset: offset_of(function), argument })?;
        let said = || String::from_utf8_lossy(&output);
        ensure!(end == ProcessEnd::Code(0), "{}: {}: {}", self.name, Ended(end), said());
        Ok(output)
    }

    fn task(&self, task: Task) -> Result<(ProcessEnd, Vec<u8>)> {
        match self.connection.ask(&Request::Run(task))? {
            Reply::Ran { end, output } => Ok((end, output)),
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

    /// Boots it, or boots it again, with the disk that it had.
    ///
    /// # Errors
    /// When it is there already, or does not come up.
    pub fn boot(&self) -> Result<()> {
        match self.connection.ask(&Request::Boot)? {
            Reply::Done => Ok(()),
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
