//! Markers: lines that the agent writes to the kernel log, so that the host can tell from the
//! console alone which case the kernel was running when it said something.
//!
//! The nonce of the run is on the kernel's command line, where every case can read it. So the host
//! gives the agent a key over their connection, and from then on the agent seals its markers: a
//! case can write a marker, but not one that the host takes for the agent's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The agent listens on this port.
    Ready(u16),
    /// The case with this sequence number begins.
    Begin(u32),
    /// The case with this sequence number is over, and so is all that it left behind.
    End(u32),
    /// The agent is about to switch the guest off.
    Farewell,
    /// The case that runs declares what its kernel will do.
    Expect(Expectation),
    /// The agent cannot go on.
    Fatal(String),
}

/// What a case declares of its kernel before it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expectation {
    /// A line of the kernel log will hold this text, and is no failure.
    Message(String),
    /// The guest will not outlive the case, and a line of its last words will hold this text.
    Death(String),
}

impl Expectation {
    /// Returns true if a line of the kernel log is what was declared.
    pub fn is_met_by(&self, line: &str) -> bool {
        match self {
            Expectation::Message(text) | Expectation::Death(text) => line.contains(text),
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expectation::Message(text) => write!(f, "message {text}"),
            Expectation::Death(text) => write!(f, "death {text}"),
        }
    }
}

impl FromStr for Expectation {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(' ') {
            Some(("message", text)) => Ok(Self::Message(text.into())),
            Some(("death", text)) => Ok(Self::Death(text.into())),
            _ => Err(()),
        }
    }
}

/// What markers are sealed with: a secret of the host and the agent in one guest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key(pub [u8; 16]);

impl fmt::Debug for Key {
    /// A secret is in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    fn seal(&self, event: &str) -> String {
        let hash = Sha256::new().chain_update(self.0).chain_update(event).finalize();
        hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A marker of the run that has this nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The nonce of the run: a marker of another run is none.
    pub nonce: String,
    /// What it is sealed with; nothing before the host has sent a key.
    pub key: Option<Key>,
    /// What it says.
    pub event: Event,
}

const WORD: &str = "uml-agent";

/// How much is said of why the agent cannot go on, in characters.
const LONGEST_REASON: usize = 200;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Ready(port) => write!(f, "ready {port}"),
            Event::Begin(sequence) => write!(f, "begin {sequence}"),
            Event::End(sequence) => write!(f, "end {sequence}"),
            Event::Farewell => write!(f, "farewell"),
            Event::Expect(what) => write!(f, "expect {what}"),
            Event::Fatal(why) => {
                // The kernel refuses a record of more than about 1,000 bytes.
                let line: String = why.replace('\n', " ").chars().take(LONGEST_REASON).collect();
                write!(f, "fatal {line}")
            }
        }
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.event.to_string();
        // The console keeps no blanks at the end of a line.
        let event = event.trim_end();
        write!(f, "{WORD} {}", self.nonce)?;
        if let Some(key) = &self.key {
            write!(f, ":{}", key.seal(event))?;
        }
        write!(f, " {event}")
    }
}

/// A marker that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The agent wrote it: only the agent and we have the key.
    Sealed(Event),
    /// Anybody may have written it.
    Open(Event),
}

/// Finds a marker of the run with `nonce` in a line of the console. The kernel may have put a time
/// stamp before it.
pub fn find(line: &str, nonce: &str, key: &Key) -> Option<Found> {
    let start = line.find(WORD)?;
    let before = line[..start].trim_end();
    if !(before.is_empty() || before.ends_with(']')) {
        return None;
    }
    let (found, text) = line[start + WORD.len()..].trim().split_once(' ')?;
    let (found, seal) = found.split_once(':').unwrap_or((found, ""));
    let event = (found == nonce).then(|| text.parse().ok())??;
    Some(if seal == key.seal(text) { Found::Sealed(event) } else { Found::Open(event) })
}

impl FromStr for Event {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "ready" => rest.parse().map(Event::Ready).map_err(drop),
            "begin" => rest.parse().map(Event::Begin).map_err(drop),
            "end" => rest.parse().map(Event::End).map_err(drop),
            "farewell" if rest.is_empty() => Ok(Event::Farewell),
            "expect" => rest.parse().map(Event::Expect),
            "fatal" => Ok(Event::Fatal(rest.into())),
            _ => Err(()),
        }
    }
}
