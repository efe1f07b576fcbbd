//! Records of the changes that make networks, so that they can be undone: a file each, one change a line.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::{Deserialize, Serialize};

use super::change::Change;
use super::name::NetworkName;
use super::subnet::Subnet;
use crate::cancel::CancelToken;
use crate::invocation;
use crate::lock;

/// Where the records are. A boot empties it (file-hierarchy(7)), as it does the host's interfaces.
const FOLDER: &str = "/run/cargo-xtask-uml/networks";

/// A network, as guests need to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: NetworkName,
    /// Its bridge.
    pub bridge: String,
    /// The host's interface that it is connected with, if any is.
    pub uplink: Option<String>,
    /// Its taps, in order.
    pub taps: Vec<String>,
    /// Whose taps they are, by number.
    pub owner: u32,
    /// Its addresses, where it has its own: the first is the host's.
    pub subnet: Option<Subnet>,
    /// Where the rest of the world is.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub name_servers: Vec<Ipv4Addr>,
    /// True if a server gives addresses by DHCP there, or another machine may.
    pub has_dhcp: bool,
    /// Where and since when it is.
    pub place: NetworkPlace,
}

impl Record {
    /// The network of that name.
    ///
    /// # Errors
    /// When there is none, or it was not made to the end.
    pub fn of(name: &NetworkName) -> Result<Self> {
        let xtask = invocation::command();
        let journal = Records { lock: None }.open(name)?;
        let Some(Journal { lines, .. }) = journal else {
            let known: Vec<String> = names().iter().map(NetworkName::to_string).collect();
            let those = if known.is_empty() { "none is".into() } else { known.join(" ") };
            bail!("no network `{name}` is up ({those}): `{xtask} net up {name}` makes one");
        };
        ensure!(
            lines.last().is_some_and(|line| line == COMPLETE),
            "the network `{name}` was not made to its end: `{xtask} net down {name}` undoes what there is"
        );
        serde_json::from_str(&lines[0]).context("a network's record cannot be understood")
    }

    /// Who may use its taps, for an error.
    pub(super) fn hint(&self) -> String {
        format!(
            "cannot take a tap of the network `{}`: they are for the user {}, who has to be able to open /dev/net/tun",
            self.name, self.owner
        )
    }
}

/// The boot and the network namespace that a network is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlace {
    boot: String,
    namespace: u64,
}

impl NetworkPlace {
    /// Where we are.
    pub(super) fn here() -> Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .context("cannot tell boots apart")?;
        let namespace =
            fs::metadata("/proc/self/ns/net").context("cannot tell network namespaces apart")?;
        Ok(Self { boot: boot.trim().into(), namespace: namespace.ino() })
    }
}

/// The last line of a record whose network is whole.
const COMPLETE: &str = "complete";

/// The names of the networks that there are, also of those that were not made to the end.
pub fn names() -> Vec<NetworkName> {
    names_in(Path::new(FOLDER), ".jsonl")
}

/// The names of the networks that have a record in a folder, whose name ends so.
pub(super) fn names_in(folder: &Path, end: &str) -> Vec<NetworkName> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<NetworkName> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(end)?.parse().ok())
        .collect();
    names.sort();
    names
}

fn path_of(name: &NetworkName) -> PathBuf {
    PathBuf::from(FOLDER).join(format!("{name}.jsonl"))
}

/// All records; who changes any holds their lock.
#[derive(Debug)]
pub(super) struct Records {
    /// Nothing for who only reads.
    lock: Option<File>,
}

impl Drop for Records {
    fn drop(&mut self) {
        if self.lock.is_some() && names().is_empty() {
            // What cannot be removed goes with the next boot.
            let _ = fs::remove_dir_all(FOLDER);
            let _ = Path::new(FOLDER).parent().map(fs::remove_dir);
        }
    }
}

impl Records {
    /// Waits for whoever changes one.
    pub fn lock() -> Result<Self> {
        loop {
            if let Some(lock) = lock::claim_folder(Path::new(FOLDER), 0o755)? {
                // A command that we have started holds it too: whoever comes after us when we were killed waits for its end.
                fcntl(&lock, FcntlArg::F_SETFD(FdFlag::empty())).context("cannot share a lock")?;
                return Ok(Self { lock: Some(lock) });
            }
            CancelToken::default().check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Begins the record of a network.
    pub fn begin(&self, record: &Record) -> Result<Journal> {
        if let Some(there) = self.open(&record.name)? {
            let xtask = invocation::command();
            drop(there);
            bail!("a network `{0}` is there: `{xtask} net down {0}` undoes it", record.name);
        }
        let mut journal = Journal { name: record.name.clone(), lines: Vec::new() };
        journal.push(serde_json::to_string(record)?)?;
        Ok(journal)
    }

    /// The record of a network, if it is of this boot.
    pub fn open(&self, name: &NetworkName) -> Result<Option<Journal>> {
        let path = path_of(name);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("cannot read {}", path.display()))?,
        };
        // What follows the last end of a line was not written to its end, and not done.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines: Vec<String> = whole.lines().map(String::from).collect();
        let Some(first) = lines.first() else { return Ok(None) };
        let record: Record = serde_json::from_str(first)
            .with_context(|| format!("{} cannot be understood", path.display()))?;
        let here = NetworkPlace::here()?;
        if record.place.boot != here.boot {
            // Where /run is not emptied by a boot.
            return Ok(None);
        }
        ensure!(
            record.place.namespace == here.namespace,
            "the network `{name}` was made in another network namespace: go there to undo it"
        );
        Ok(Some(Journal { name: name.clone(), lines }))
    }

    /// Leaves a change to another network that has made it too, if there is one.
    pub fn hand_over(&self, name: &NetworkName, change: &Change) -> Result<bool> {
        for other in names().into_iter().filter(|other| other != name) {
            // One that cannot be read needs nothing of ours.
            let Ok(Some(mut journal)) = self.open(&other) else { continue };
            for index in 1..journal.lines.len() {
                let Ok(theirs) = serde_json::from_str::<Change>(&journal.lines[index]) else {
                    continue;
                };
                if let Some(new) = change.handed_over(&theirs) {
                    journal.lines[index] = serde_json::to_string(&new)?;
                    journal.write()?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The record of one network.
#[derive(Debug)]
pub(super) struct Journal {
    name: NetworkName,
    lines: Vec<String>,
}

impl Journal {
    /// Records a change that is about to be made.
    pub fn add(&mut self, change: &Change) -> Result<()> {
        self.push(serde_json::to_string(change)?)
    }

    /// Records that all is made.
    pub fn complete(&mut self) -> Result<()> {
        self.push(COMPLETE.into())
    }

    /// The change that was recorded last, if one is left.
    pub fn last(&mut self) -> Result<Option<Change>> {
        if self.lines.last().is_some_and(|line| line == COMPLETE) {
            self.forget_last()?;
        }
        match self.lines.as_slice() {
            [] | [_] => Ok(None),
            [.., last] => Ok(Some(
                serde_json::from_str(last).context("a recorded change cannot be understood")?,
            )),
        }
    }

    /// Forgets the change that was recorded last: it is undone.
    pub fn forget_last(&mut self) -> Result<()> {
        self.lines.pop();
        self.write()
    }

    /// Removes the record.
    pub fn remove(self) -> Result<()> {
        fs::remove_file(path_of(&self.name)).context("cannot remove a network's record")
    }

    fn push(&mut self, line: String) -> Result<()> {
        self.lines.push(line);
        self.write()
    }

    /// Writes all of it, so that whatever ends us leaves the old record or the new one.
    fn write(&self) -> Result<()> {
        let path = path_of(&self.name);
        let what = || format!("cannot write {}", path.display());
        let mut file = tempfile::NamedTempFile::new_in(FOLDER).with_context(what)?;
        for line in &self.lines {
            writeln!(file, "{line}").with_context(what)?;
        }
        file.as_file().sync_all().with_context(what)?;
        // Whoever boots a guest there reads it.
        let readable = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
        file.as_file().set_permissions(readable).with_context(what)?;
        file.persist(&path).with_context(what)?;
        Ok(())
    }
}
