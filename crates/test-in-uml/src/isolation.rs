//! How our processes are set apart from the host: namespaces that die with us.
//!
//! The children here are this very executable, started with a hidden subcommand: they unshare
//! before any thread exists, which a library in a threaded program cannot do.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

mod cmd;
mod contain;
mod descendants;
mod facility;
mod namespace;
mod probe;

pub use cmd::{Cmd, Output, ended_with_us};
pub use contain::{Exceeded, Running, Shown, ShutLimits, shut_in};
pub(crate) use descendants::{
    Search, adopt_orphans, children, end_adopted, end_own_descendants, end_with_descendants,
    threads,
};
pub use facility::{Facility, Tried};
pub(crate) use namespace::{
    Namespaces, child_signals, die_with_parent, enter, fork, is_real_root, mount_proc, reap,
    unblock_signals, wait_for_child_or,
};

/// What sets our processes apart; found by trying, consumed in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Privilege {
    /// A user namespace of one's own; a container's root needs one like everybody else.
    UserNamespace,
    /// Real root needs none.
    Root,
    /// Neither is to be had: what we start is told from the host's by who started it, and guests see the host's files
    /// as far as Landlock lets them.
    None,
}

/// What this host grants us, with what was tried.
#[derive(Debug, Clone)]
pub struct Isolation {
    exe: PathBuf,
    privilege: Privilege,
    tried: Vec<Tried>,
}

/// Whose ids a contained step sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Its own: what it writes belongs to the user.
    Own,
    /// Root, which outside is the user.
    Root,
    /// Root and a range of others, as `/etc/subuid` grants them (newuidmap(1)).
    Subordinate,
}

impl Ids {
    fn name(self) -> &'static str {
        match self {
            Ids::Own => "own",
            Ids::Root => "root",
            Ids::Subordinate => "subordinate",
        }
    }

    fn named(name: &str) -> Result<Self> {
        [Ids::Own, Ids::Root, Ids::Subordinate]
            .into_iter()
            .find(|ids| ids.name() == name)
            .with_context(|| format!("no ids `{name}`"))
    }
}

impl Isolation {
    /// Tries what this host grants. `exe` is an executable whose `main` begins with
    /// [`crate::main`].
    ///
    /// # Errors
    /// When the executable cannot be started.
    pub fn find(exe: &Path) -> Result<Self> {
        let probe::Probed { is_root, tried } = probe::ask(exe)?;
        let mut isolation = Self { exe: exe.to_owned(), privilege: Privilege::None, tried };
        if isolation.grants(Facility::Namespaces) {
            isolation.privilege = if is_root { Privilege::Root } else { Privilege::UserNamespace };
        }
        Ok(isolation)
    }

    /// The privilege that was found.
    pub fn privilege(&self) -> &Privilege {
        &self.privilege
    }

    /// The same, insisting on namespaces.
    #[must_use]
    pub fn with_namespaces(self) -> Self {
        let privilege = match self.privilege {
            Privilege::None => Privilege::UserNamespace,
            found => found,
        };
        Self { privilege, ..self }
    }

    /// What would be found where namespaces are refused.
    #[must_use]
    pub fn without_namespaces(self) -> Self {
        Self { privilege: Privilege::None, ..self }
    }

    /// The first thing without which guests cannot run, if anything is refused. Some of them have taps.
    pub fn refused_to_guests(&self, with_taps: bool) -> Option<&Tried> {
        let in_namespaces = self.privilege != Privilege::None;
        let is_needed = |tried: &&Tried| tried.facility.is_needed(with_taps, in_namespaces);
        self.tried.iter().filter(is_needed).find(|tried| tried.result.is_err())
    }

    /// Returns true if it grants this.
    pub fn grants(&self, facility: Facility) -> bool {
        self.tried.iter().any(|tried| tried.facility == facility && tried.result.is_ok())
    }

    /// Returns true if a step can have a file system in memory of its own.
    pub fn has_tmpfs(&self) -> bool {
        self.grants(Facility::Tmpfs)
    }

    /// All that was tried, with what came of it.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// This executable with a hidden subcommand and what it needs to know.
    pub(crate) fn hidden(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.exe);
        command.arg(subcommand);
        command
    }
}

/// This executable for whoever we fork, even when a build has replaced its file since we were started
/// (proc(5)).
pub const OWN_EXE: &str = "/proc/self/exe";

/// The hidden subcommand that serves a run; see [`crate::stage`].
pub(crate) const STAGE: &str = "__stage";
const CONTAIN: &str = "__contain";
const SHUT: &str = "__shut";
const PROBE: &str = "__probe";

/// What serves a hidden subcommand: it gets the arguments, and says the exit code.
pub(crate) type Server = fn(&[OsString]) -> Result<i32>;

/// What serves a hidden subcommand of this module, if this is one.
pub(crate) fn server_of(subcommand: &OsStr) -> Option<Server> {
    match subcommand.as_bytes() {
        name if name == CONTAIN.as_bytes() => Some(contain::serve),
        name if name == SHUT.as_bytes() => Some(contain::serve_shut),
        name if name == PROBE.as_bytes() => Some(probe::serve),
        _ => None,
    }
}

/// Exit code of a hidden subcommand that could not do its work.
pub(crate) const FAILED: i32 = 125;

/// Refuses to run under sudo: what root then owned would lock the user out of store and target.
///
/// # Errors
/// When `SUDO_UID` is set and we are root.
pub fn refuse_sudo() -> Result<()> {
    let sudo = nix::unistd::geteuid().is_root() && std::env::var_os("SUDO_UID").is_some();
    ensure!(
        !sudo,
        "run as yourself, without sudo: nothing here needs root, and what root owns \
                    would lock you out of the cache and the target directory"
    );
    Ok(())
}
