//! The program that configures the host's interfaces at its boot.

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::doctor::find;
use crate::host_network::line::Line;

/// A program that configures interfaces at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Manager {
    /// `/etc/network/interfaces`.
    Ifupdown,
    /// systemd-networkd.
    Networkd,
    /// NetworkManager.
    #[value(name = "networkmanager")]
    NetworkManager,
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Manager::Ifupdown => "ifupdown",
            Manager::Networkd => "systemd-networkd",
            Manager::NetworkManager => "NetworkManager",
        })
    }
}

impl Manager {
    /// The one that was asked for; else the one that has this uplink, or, without an uplink, one that runs here.
    pub(super) fn of_host(asked: Option<Self>, uplink: Option<&str>) -> Result<Self> {
        if let Some(asked) = asked {
            return Ok(asked);
        }
        let all = [Self::NetworkManager, Self::Networkd, Self::Ifupdown];
        match all.into_iter().find(|one| one.has(uplink)) {
            Some(found) => Ok(found),
            None => bail!(
                "cannot tell what configures {} at boot: say `--manager ifupdown`, `networkd` or `networkmanager`",
                uplink.unwrap_or("the interfaces of this host")
            ),
        }
    }

    fn has(self, uplink: Option<&str>) -> bool {
        let nmcli = |arguments: &str, interface: &str, says: &str| {
            let line = Line::new(&format!("nmcli -t -g {arguments} {interface}"));
            find("nmcli").is_some() && line.read().is_ok_and(|text| text.trim().starts_with(says))
        };
        match (self, uplink) {
            (Self::NetworkManager, None) => nmcli("RUNNING general", "", "running"),
            (Self::NetworkManager, Some(uplink)) => {
                nmcli("GENERAL.STATE device show", uplink, "100")
            }
            // Only the daemon itself writes it (sd_network_get_operational_state(3)).
            (Self::Networkd, None) => Path::new(super::networkd::STATE).join("state").exists(),
            (Self::Networkd, Some(uplink)) => super::networkd::file_of(uplink).is_ok(),
            (Self::Ifupdown, None) => Path::new(super::ifupdown::INTERFACES).exists(),
            (Self::Ifupdown, Some(uplink)) => super::ifupdown::file_of(uplink).is_ok(),
        }
    }
}
