//! The host's interfaces, addresses and routes, as ip(8) has them.

use std::fmt::Display;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::line::Line;

/// A route, as `ip -json route show` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    pub dst: String,
    #[serde(default)]
    pub gateway: Option<String>,
    #[serde(default)]
    pub dev: Option<String>,
    #[serde(default)]
    pub protocol: Option<String>,
    #[serde(default)]
    pub scope: Option<String>,
    #[serde(default)]
    pub prefsrc: Option<String>,
    #[serde(default)]
    pub metric: Option<u32>,
    #[serde(default)]
    pub flags: Vec<String>,
}

impl Route {
    /// The words for ip(8) that have it by this interface.
    pub fn by(&self, dev: &str) -> String {
        let mut words = self.dst.clone();
        add(&mut words, "via", self.gateway.as_ref());
        add(&mut words, "dev", Some(dev));
        add(&mut words, "proto", self.protocol.as_ref());
        add(&mut words, "scope", self.scope.as_ref());
        add(&mut words, "src", self.prefsrc.as_ref());
        add(&mut words, "metric", self.metric);
        if self.flags.iter().any(|flag| flag == "onlink") {
            words += " onlink";
        }
        words
    }
}

/// Adds a word and its value, if it has one.
fn add(words: &mut String, name: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        *words += &format!(" {name} {value}");
    }
}

/// An interface, as `ip -json address show` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interface {
    pub ifindex: u32,
    pub ifname: String,
    #[serde(default)]
    pub address: Option<String>,
    #[serde(default)]
    pub master: Option<String>,
    #[serde(default)]
    pub addr_info: Vec<Address>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Address {
    pub local: String,
    pub prefixlen: u8,
    #[serde(default)]
    pub broadcast: Option<String>,
    #[serde(default)]
    pub scope: Option<String>,
    #[serde(default)]
    pub label: Option<String>,
    #[serde(default)]
    pub noprefixroute: bool,
    #[serde(default)]
    pub valid_life_time: Option<u64>,
    #[serde(default)]
    pub preferred_life_time: Option<u64>,
}

/// How ip(8) shows a time without an end, in seconds.
const FOREVER: u64 = u32::MAX as u64;

impl Address {
    /// It with its prefix.
    pub fn with_prefix(&self) -> String {
        format!("{}/{}", self.local, self.prefixlen)
    }

    /// The words for ip(8) that have it on this interface, with a label if it had one of this interface.
    pub fn on(&self, dev: &str) -> String {
        let mut words = self.with_prefix();
        add(&mut words, "broadcast", self.broadcast.as_ref());
        add(&mut words, "scope", self.scope.as_ref());
        // A label begins with the name of its interface.
        add(&mut words, "label", self.label.as_ref().filter(|label| label.starts_with(dev)));
        if let (Some(valid @ ..FOREVER), Some(preferred)) =
            (self.valid_life_time, self.preferred_life_time)
        {
            add(&mut words, "valid_lft", Some(valid));
            let preferred = match preferred {
                FOREVER.. => "forever".into(),
                seconds => seconds.to_string(),
            };
            add(&mut words, "preferred_lft", Some(preferred));
        }
        if self.noprefixroute {
            words += " noprefixroute";
        }
        words + &format!(" dev {dev}")
    }
}

fn json<T: DeserializeOwned>(arguments: &str) -> Result<T> {
    let line = Line::new(&format!("ip -json {arguments}"));
    let text = line.read()?;
    // It says nothing where there is nothing to say.
    let text = if text.trim().is_empty() { "[]" } else { &text };
    serde_json::from_str(text).with_context(|| format!("cannot understand what `{line}` says"))
}

/// The routes of the main table, or of all, that are IPv4's.
pub(super) fn routes(of: &str) -> Result<Vec<Route>> {
    json(&format!("-4 route show {of}"))
}

/// The default route that is taken: the one of the lowest metric.
pub(super) fn default_route() -> Result<Option<Route>> {
    let all = routes("default")?;
    Ok(all.into_iter().min_by_key(|route| route.metric.unwrap_or(0)))
}

/// An interface with its addresses of all kinds.
pub(super) fn interface(name: &str) -> Result<Interface> {
    let all: Vec<Interface> = json(&format!("address show dev {name}"))?;
    all.into_iter().next().with_context(|| format!("no interface `{name}`"))
}

/// Returns true if there is an interface of that name.
pub(super) fn exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
        || Line::new("ip link show dev").args([name]).succeeds()
}

/// The state of a neighbour, in the words of ip-neighbour(8), if its hardware address is known.
pub(super) fn neighbour(address: &str, dev: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Neighbour {
        #[serde(default)]
        lladdr: Option<String>,
        #[serde(default)]
        state: Vec<String>,
    }
    let known: Vec<Neighbour> = json(&format!("neighbour show {address} dev {dev}"))?;
    let known = known.into_iter().filter(|one| one.lladdr.is_some());
    Ok(known.flat_map(|one| one.state).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_route_are_told_as_they_were() {
        let text = r#"{"family":"inet","local":"192.0.2.2","prefixlen":24,"broadcast":"192.0.2.255","scope":"global",
            "dynamic":true,"noprefixroute":true,"label":"eth0","valid_life_time":100,"preferred_life_time":4294967295}"#;
        let address: Address = serde_json::from_str(text).unwrap();
        assert_eq!(
            address.on("eth0"),
            "192.0.2.2/24 broadcast 192.0.2.255 scope global label eth0 valid_lft 100 preferred_lft forever \
             noprefixroute dev eth0"
        );
        assert!(!address.on("uml-lab").contains("label"));
        let text = r#"{"dst":"default","gateway":"192.0.2.1","dev":"eth0","protocol":"dhcp","prefsrc":"192.0.2.2",
            "metric":100,"flags":["onlink"]}"#;
        let route: Route = serde_json::from_str(text).unwrap();
        assert_eq!(
            route.by("uml-lab"),
            "default via 192.0.2.1 dev uml-lab proto dhcp src 192.0.2.2 metric 100 onlink"
        );
    }
}
