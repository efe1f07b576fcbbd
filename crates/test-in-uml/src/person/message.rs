//! The messages between the process that holds a guest and others.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// One message to it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Asked {
    /// Tell me of the guest.
    About,
    /// Connect me to the guest's port for commands; the answer comes with the connection.
    Connect,
    /// End the guest at once.
    End,
}

/// One message back.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The guest that it holds.
    About(About),
    /// It is done.
    Done,
    /// It cannot be done.
    Failed(String),
}

/// A guest that runs, as others see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub name: String,
    /// The name of its kernel in the configuration.
    pub kernel: String,
    /// The release of that kernel.
    pub release: String,
    /// Its memory, as the configuration writes it.
    pub memory: String,
    /// The process that holds it.
    pub holder: u32,
    /// When it was powered on, in seconds since 1970.
    pub since: u64,
    /// Where it is on a network of the host, if it is on one.
    pub network: Option<String>,
    /// The file with what its console said; none where that is a terminal.
    pub console: Option<String>,
}

impl About {
    /// How long ago it was powered on, in whole seconds.
    pub fn age(&self) -> Duration {
        let since = UNIX_EPOCH + Duration::from_secs(self.since);
        let age = SystemTime::now().duration_since(since).unwrap_or_default();
        Duration::from_secs(age.as_secs())
    }
}
