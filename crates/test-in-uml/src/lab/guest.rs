//! One guest of a scenario, from its plan to its record.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use uml_protocol::lab::{GuestSpec, InterfaceAddresses, Reply, Request, Task, env};
use uml_protocol::wire::Word;

use super::answers;
use super::{GuestOrder, KernelIp, Lab, MadeGuest};
use crate::config::ByteSize;
use crate::guest::machine::{CaseRecord, End};
use crate::guest::{CaseOptions, CaseRun, Complaint, Connect, ExtraDisk, Interface};

mod end;
mod plan;

/// The longest command, in bytes: one variable of an environment holds it (execve(2), MAX_ARG_STRLEN).
const LONGEST_COMMAND: usize = 100 << 10;

/// A guest of a scenario.
pub(super) struct LabGuest<'a, 's, 'r> {
    lab: &'s Lab<'a, 'r>,
    spec: GuestSpec,
    interfaces: Vec<Interface>,
    /// Its addresses, for each interface.
    pub(super) addresses: Vec<InterfaceAddresses>,
    /// Its disk: what that is called, and where guests see it.
    disk: (String, PathBuf),
    disks: Vec<ExtraDisk>,
    current: Option<MadeGuest<'a>>,
    kernel: Option<String>,
    consoles: Vec<PathBuf>,
    /// When it was powered on, since the case began.
    boots: Vec<Duration>,
    complaints: Vec<Complaint>,
    declared: Vec<String>,
    /// How many names of others it has been told.
    named: usize,
    /// It is to end by itself, and to say this.
    death: Option<String>,
}

impl LabGuest<'_, '_, '_> {
    /// Does what the case asks of this guest.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn answer(&mut self, request: Request) -> Result<Reply> {
        match request {
            Request::Boot => return self.boot(),
            Request::Run(task) => return self.run(task),
            Request::Log => return Ok(Reply::Log(answers::lines(self.log()))),
            Request::PowerOff => {
                let made = self.current.take().context("it is off")?;
                let gone = made.guest.shutdown()?;
                let end = gone.end.clone();
                self.gone(gone, false);
                ensure!(matches!(end, End::Clean { .. }), "{end}");
            }
            Request::ExpectMessage(text) => self.declared.push(text),
            Request::ExpectDeath(text) => self.death = Some(text),
            Request::Network(_)
            | Request::Kill(_)
            | Request::Cable { .. }
            | Request::Shape { .. }
            | Request::Join { .. }
            | Request::Disk { .. }
            | Request::Guest(_) => {
                bail!("that is not for a guest")
            }
        }
        Ok(Reply::Done)
    }

    /// Looks at what has happened to it meanwhile, and tells it the names of others that came.
    pub fn attend(&mut self) {
        self.look();
        if self.current.is_some() && self.named < self.lab.state().hosts.len() {
            // A guest that cannot take them says so when it is asked for something.
            let _ = self.run_with(vec![(env::NAMES.into(), "1".into())]);
        }
    }

    fn look(&mut self) {
        let Some(made) = &mut self.current else { return };
        // Who asks us to stop has all of it end soon.
        let _ = made.guest.attend();
        if made.guest.end().is_some()
            && let Some(made) = self.current.take()
            && let Ok(gone) = made.guest.cut_power()
        {
            self.gone(gone, false);
        }
    }

    fn boot(&mut self) -> Result<Reply> {
        ensure!(self.current.is_none(), "it is there already");
        self.lab.take_turn()?;
        let kernel_ip = self.spec.autoconfiguration.zip(self.addresses.first());
        let kernel_ip = kernel_ip.map(|(by, own)| KernelIp { by, address: own.v4 });
        let arguments = self.arguments();
        let connect = |index: usize, socket| {
            let state = self.lab.state();
            let network = self.spec.networks.get(index).and_then(|name| state.networks.get(name));
            if let Some(network) = network {
                network.connect(&self.spec.name, socket);
            }
            Ok(())
        };
        let order = GuestOrder {
            kernel: self.spec.kernel.as_deref(),
            memory: self.spec.memory.map(|mib| ByteSize::mib(mib.into())),
            interfaces: &self.interfaces,
            connect: Connect(&connect),
            arguments: &arguments,
            kernel_ip,
            disk: &self.disk.1,
            disks: &self.disks,
            cancel: &self.lab.over,
        };
        let powered_on = self.lab.began.elapsed();
        let made = self.lab.maker.make(&order, &|| self.lab.waits());
        let mut made = made.inspect_err(|error| self.not_up(error, powered_on))?;
        made.guest.set_cancel(self.lab.outer);
        self.boots.push(powered_on);
        self.consoles.push(made.console.clone());
        self.kernel = Some(made.kernel.clone());
        let on = (made.guest.process(), false);
        self.lab.state().on.insert(self.spec.name.clone(), on);
        let addresses = self.addresses.iter().enumerate().map(|(index, own)| {
            let interface = made.net_driver.interface(index + 1);
            // The first has the other already, if the kernel took care of that.
            let v4 = (index > 0 || kernel_ip.is_none()).then_some(own.v4);
            let v4 =
                v4.map_or(String::new(), |v4| format!("{v4}/{} ", InterfaceAddresses::PREFIX_V4));
            format!("{interface} {v4}{}/{}", own.v6, InterfaceAddresses::PREFIX_V6)
        });
        let addresses: Vec<String> = addresses.collect();
        self.current = Some(made);
        let set_up = [
            (env::SET_UP.to_owned(), "1".to_owned()),
            (env::INTERFACES.to_owned(), addresses.join("\n")),
        ];
        match self.run_with(set_up.into())? {
            Reply::Ran { end: uml_protocol::wire::ProcessEnd::Code(0), .. } => Ok(Reply::Done),
            Reply::Ran { output, .. } => bail!("{}", String::from_utf8_lossy(&output).trim()),
            other => Ok(other),
        }
    }

    /// What is said to its kernel beside what every kernel is told.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = self.spec.arguments.clone();
        if let Some((server, path)) = &self.spec.nfs_root {
            // Without these options an old kernel asks for version 2, over UDP.
            arguments.push("root=/dev/nfs".into());
            arguments.push(format!("nfsroot={server}:{path},vers=3,proto=tcp"));
        }
        arguments
    }

    fn run(&mut self, task: Task) -> Result<Reply> {
        self.run_with(match task {
            Task::Command(line) => {
                let length = line.len();
                ensure!(length <= LONGEST_COMMAND, "a command of {length} bytes is too long");
                vec![(env::COMMAND.into(), line)]
            }
            Task::Function { offset, argument } => {
                let function = (env::FUNCTION.to_owned(), offset.to_string());
                let argument = argument.map(|text| (env::ARGUMENT.to_owned(), text));
                [function].into_iter().chain(argument).collect()
            }
        })
    }

    /// Has the case's program do in the guest what its environment says.
    fn run_with(&mut self, mut environment: Vec<(String, String)>) -> Result<Reply> {
        let made = self.current.as_mut().context("it is off")?;
        let hosts: Vec<String> = {
            let state = self.lab.state();
            let lines = state.hosts.iter().map(|(InterfaceAddresses { v4, v6, .. }, name)| {
                // As Debian calls its loopback: who asks for a name alone is not to be given a choice.
                format!("{v4} {name}\n{v6} ip6-{name}")
            });
            lines.collect()
        };
        self.named = hosts.len();
        environment.push((env::HOSTS.into(), hosts.join("\n")));
        environment.push((env::NAME.into(), self.spec.name.clone()));
        let (timeout, injections) = (self.lab.timeout, &[][..]);
        let how = CaseOptions {
            timeout,
            word: Word::Stdout,
            lasts: false,
            leave: true,
            injections,
            sink: None,
        };
        made.guest.set_cancel(&self.lab.over);
        let ran = made.guest.run_case(self.lab.program, Vec::new(), environment, how);
        // The scenario's end is not that of its guests: each is still asked how it went.
        made.guest.set_cancel(self.lab.outer);
        let ran = ran?;
        let ended = made.guest.end().cloned();
        let record = match ran {
            CaseRun::Ran(record) => *record,
            CaseRun::NotBegun => CaseRecord::default(),
        };
        self.complaints.extend(record.reports.undeclared().iter().cloned());
        match (ended, record.exit) {
            (None, Some(exit)) => {
                Ok(Reply::Ran { end: exit.end, output: answers::bytes(record.output.bytes()) })
            }
            (end, _) => {
                let how = end.map_or_else(|| "it ended".into(), |end| end.to_string());
                Ok(Reply::Ended(how))
            }
        }
    }
}
