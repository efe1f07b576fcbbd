//! What a case may ask for, but for what it asks of one guest.

use std::thread::Scope;

use anyhow::{Context as _, Result, ensure};
use uml_protocol::lab::{NetworkSpec, Reply, Request};

use super::guest::LabGuest;
use super::network::Network;
use super::{Lab, LabState, MOST_DISKS, MOST_JOINED, MOST_NETWORKS, OWN, OWN_NAME, PATIENCE};

impl<'a, 'r> Lab<'a, 'r> {
    pub(super) fn answer<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        request: Request,
        guest: &mut Option<LabGuest<'a, 's, 'r>>,
    ) -> Result<Reply> {
        match request {
            Request::Network(spec) => self.add_network(scope, spec)?,
            Request::Cable { network, guest, plugged } => {
                self.state().network(&network)?.plug(&guest, plugged)?;
            }
            Request::Join { network } => return self.join(&network),
            Request::Shape { network, shape } => {
                self.state().network(&network)?.shape(shape)?;
            }
            Request::Kill(name) => self.kill(&name)?,
            Request::Disk { name, size } => self.add_disk(name, size)?,
            Request::Guest(spec) => {
                ensure!(guest.is_none(), "this connection has a guest already");
                ensure!(!self.state().is_over, "the case is over");
                let planned = LabGuest::plan(self, spec)?;
                let addresses = planned.addresses.clone();
                *guest = Some(planned);
                return Ok(Reply::Planned(addresses));
            }
            other => {
                return guest.as_mut().context("there is no guest yet")?.answer(other);
            }
        }
        Ok(Reply::Done)
    }

    fn add_network<'s>(&'s self, scope: &'s Scope<'s, '_>, spec: NetworkSpec) -> Result<()> {
        let mut state = self.state();
        ensure!(!state.is_over, "the case is over");
        ensure!(!state.networks.contains_key(&spec.name), "there is a network `{}`", spec.name);
        let number = state.networks.len() + 1;
        ensure!(number <= MOST_NETWORKS, "a case has room for {MOST_NETWORKS} networks");
        let network = Network::start(scope, number as u8)?;
        state.networks.insert(spec.name, network);
        Ok(())
    }

    fn add_disk(&self, name: String, size: u64) -> Result<()> {
        let mut state = self.state();
        ensure!(!state.disks.contains_key(&name), "there is a disk `{name}`");
        ensure!(state.disks.len() < MOST_DISKS, "a case has room for {MOST_DISKS} disks");
        // Its name is the case's choice, and no path.
        let own = format!("{}.{}", self.token, state.disks.len());
        let path = self.maker.make_disk(&own, size)?;
        state.disks.insert(name, (own, path));
        Ok(())
    }

    /// Cuts the power of a guest, and waits until its thread has seen that.
    fn kill(&self, name: &str) -> Result<()> {
        let process = {
            let mut state = self.state();
            let (process, cut) =
                state.on.get_mut(name).with_context(|| format!("{name} is off"))?;
            *cut = true;
            *process
        };
        self.maker.kill(process);
        let is_on = |state: &mut LabState<'_>| state.on.contains_key(name) && !state.is_over;
        // It is gone soon; its own connection would wait for itself.
        drop(self.off.wait_timeout_while(self.state(), PATIENCE, is_on));
        Ok(())
    }

    /// Has the case's own guest be in a network too.
    fn join(&self, name: &str) -> Result<Reply> {
        let mut state = self.state();
        ensure!(state.joined < MOST_JOINED, "a guest has room for {MOST_JOINED} more interfaces");
        state.joined += 1;
        let number = state.joined;
        let network = state.network(name)?;
        let addresses = network.addresses(OWN);
        let (interface, socket) = self.maker.add_interface(number, addresses.mac_text())?;
        network.connect(OWN_NAME, socket);
        state.hosts.push((addresses, OWN_NAME.into()));
        Ok(Reply::Joined { interface, addresses })
    }
}
