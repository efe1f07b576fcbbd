//! The host's interface becomes a port of a bridge, which takes its addresses and routes.
//!
//! All of it is one run of ip(8): whoever works on this machine over that interface is not cut off in between.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::ip::{self, Address, Interface, Route};
use super::line::Line;
use crate::cancel::CancelToken;

/// The time a gateway has to answer: one that was only heard is asked after 5 s, three times
/// (Documentation/networking/ip-sysctl.rst, `delay_first_probe_time`).
const PATIENCE: Duration = Duration::from_secs(15);

/// An interface before a bridge took it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Takeover {
    uplink: String,
    bridge: String,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    /// A gateway that answered before.
    gateway: Option<Ipv4Addr>,
}

impl Takeover {
    /// That of this interface, as it is now.
    pub fn of(uplink: &Interface, bridge: &str) -> Result<Self> {
        let name = &uplink.ifname;
        // What a kernel gives itself it gives the bridge too.
        let is_given = |address: &&Address| address.scope.as_deref() != Some("link");
        let addresses = uplink.addr_info.iter().filter(is_given).cloned().collect();
        let routes = ip::routes(&format!("dev {name}"))?;
        let gateway = routes.iter().find(|route| route.dst == "default");
        let gateway = gateway.and_then(|route| route.gateway.as_ref()?.parse().ok());
        let gateway =
            gateway.filter(|gateway| comes_to(&ANSWERED, *gateway, name).unwrap_or(false));
        Ok(Self { uplink: name.clone(), bridge: bridge.into(), addresses, routes, gateway })
    }

    /// The gateway of the network.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.gateway
    }

    pub fn make(&self) -> Vec<Line> {
        let Self { uplink, bridge, .. } = self;
        let mut batch = format!("link set dev {uplink} master {bridge}\n");
        for address in &self.addresses {
            batch += &format!("address del {} dev {uplink}\n", address.with_prefix());
        }
        batch += &self.told(bridge);
        vec![batch_of(batch)]
    }

    /// Checks that the gateway answers still.
    pub fn check(&self) -> Result<()> {
        let Some(gateway) = self.gateway else { return Ok(()) };
        if comes_to(&ANSWERS, gateway, &self.bridge)? {
            return Ok(());
        }
        bail!(
            "the gateway {gateway} does not answer any more on {}: does the network let only one address speak?",
            self.bridge
        )
    }

    /// The command that gives the interface back what it had, unless it has it.
    pub fn undo(&self) -> Result<Vec<Line>> {
        let Self { uplink, bridge, .. } = self;
        if !ip::exists(uplink) {
            return Ok(Vec::new());
        }
        let now = ip::interface(uplink)?;
        let has_all = self.addresses.iter().all(|address| {
            now.addr_info.iter().any(|one| one.with_prefix() == address.with_prefix())
        });
        if now.master.as_deref() != Some(bridge) && has_all && self.has_routes()? {
            return Ok(Vec::new());
        }
        let mut batch = String::new();
        if ip::exists(bridge) {
            batch +=
                &format!("route flush dev {bridge}\naddress flush dev {bridge} scope global\n");
        }
        batch += &format!("link set dev {uplink} nomaster\n");
        batch += &self.told(uplink);
        Ok(vec![batch_of(batch)])
    }

    fn has_routes(&self) -> Result<bool> {
        let now = ip::routes(&format!("dev {}", self.uplink))?;
        Ok(self.routes.iter().all(|route| now.contains(route)))
    }

    /// The lines for ip(8) that give an interface the addresses and the routes.
    fn told(&self, dev: &str) -> String {
        let mut batch = String::new();
        for address in &self.addresses {
            batch += &format!("address replace {}\n", address.on(dev));
        }
        // Those of the kernel's own come with the addresses; what they lead to must be there before the others.
        let (own, others): (Vec<&Route>, Vec<&Route>) =
            self.routes.iter().partition(|route| route.gateway.is_none());
        for route in own.into_iter().chain(others) {
            batch += &format!("route replace {}\n", route.by(dev));
        }
        batch
    }
}

fn batch_of(batch: String) -> Line {
    // Whatever becomes of one of them, the others are done.
    Line::new("ip -force -batch -").input(batch)
}

/// States of a neighbour that answered once.
const ANSWERED: [&str; 4] = ["REACHABLE", "STALE", "DELAY", "PROBE"];

/// That of one that answers now. The others are also of one that was only heard: its own questions tell its address.
const ANSWERS: [&str; 1] = ["REACHABLE"];

/// Returns true if the neighbour comes to one of these states when it is sent something. Nothing has to listen there: the
/// host asks for the hardware address before it sends the first packet (arp(7)).
fn comes_to(states: &[&str], address: Ipv4Addr, dev: &str) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        CancelToken::default().check()?;
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot make a socket")?;
        // The discard service; what cannot be sent now is sent at the next turn.
        let _ = socket.send_to(&[0], (address, 9));
        std::thread::sleep(Duration::from_millis(100));
        let now = ip::neighbour(&address.to_string(), dev)?;
        if now.iter().any(|state| states.contains(&state.as_str())) {
            return Ok(true);
        }
    }
    Ok(false)
}
