//! A guest's plan: its name, its addresses and its disks, before it is booted.

use anyhow::{Context as _, Result, ensure};
use uml_protocol::lab::{DiskUse, GuestSpec};

use super::LabGuest;
use crate::guest::{ExtraDisk, Interface};
use crate::lab::{Lab, MOST_GUESTS, OWN_NAME};

/// So many interfaces a guest may have beside that of its link, and so many disks beside that of its root.
const MOST_OF_GUEST: usize = 15;

/// So many bytes of arguments of their own a command line has room for.
const MOST_ARGUMENTS: usize = 1024;

impl<'a, 's, 'r> LabGuest<'a, 's, 'r> {
    /// A guest that is not booted yet.
    ///
    /// # Errors
    /// When its name is taken or odd, or a network is not there.
    pub fn plan(lab: &'s Lab<'a, 'r>, spec: GuestSpec) -> Result<Self> {
        let name = &spec.name;
        ensure!(
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            "`{name}` is no name for a guest: letters, digits and dashes make one"
        );
        let most = spec.networks.len().max(spec.disks.len());
        ensure!(
            most <= MOST_OF_GUEST,
            "a guest has room for {MOST_OF_GUEST} interfaces and as many disks"
        );
        let length: usize = spec.arguments.iter().map(String::len).sum();
        ensure!(length <= MOST_ARGUMENTS, "{length} bytes of arguments are too long for a kernel");
        ensure!(
            spec.autoconfiguration.is_none() || !spec.networks.is_empty(),
            "`{name}` is in no network in which its kernel could configure an interface"
        );
        let mut state = lab.state();
        let is_taken = state.names.contains(name) || name == OWN_NAME;
        ensure!(!is_taken, "there is a guest `{name}`");
        let number = state.names.len() + 1;
        ensure!(number <= MOST_GUESTS, "a case has room for {MOST_GUESTS} guests");
        let (mut interfaces, mut addresses) = (Vec::new(), Vec::new());
        for (index, network) in spec.networks.iter().enumerate() {
            let network = state.network(network)?;
            let own = network.addresses(number as u8);
            interfaces.push(Interface { name: format!("lab{index}"), mac: own.mac_text() });
            addresses.push(own);
        }
        let disks = spec.disks.iter().map(|DiskUse { name, read_only }| {
            let (_, path) = state.disks.get(name).with_context(|| format!("no disk `{name}`"))?;
            Ok(ExtraDisk { path: path.clone(), read_only: *read_only })
        });
        let disks = disks.collect::<Result<Vec<_>>>()?;
        let hosts = addresses.iter().map(|own| (*own, name.clone()));
        state.hosts.extend(hosts);
        state.names.push(name.clone());
        drop(state);
        let disk = format!("{}-{name}", lab.token);
        let disk = (disk.clone(), lab.maker.make_root(&disk)?);
        Ok(Self {
            lab,
            spec,
            interfaces,
            addresses,
            disk,
            disks,
            current: None,
            kernel: None,
            consoles: Vec::new(),
            boots: Vec::new(),
            complaints: Vec::new(),
            declared: Vec::new(),
            named: 0,
            death: None,
        })
    }
}
