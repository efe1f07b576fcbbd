//! Debian's own package manager with a configuration of ours: it checks the signatures, and the
//! host's state is neither used nor touched.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::Unreachable;
use crate::cancel::Interrupted;
use crate::config::DebianSource;
use crate::ctx::Ctx;
use crate::isolation::Cmd;
use crate::step::Step;

mod settings;
#[cfg(test)]
mod tests;

use settings::{
    configuration, debians_keyring, host_network, own_keyring, sources_list, temporary,
};

/// Apt for one suite. Nobody else may use the same suite's meanwhile.
pub(super) struct Apt<'a> {
    step: &'a Step<'a>,
    source: &'a DebianSource,
    config: PathBuf,
    /// For the programs that check signatures: one that is killed removes nothing.
    temporary: TempDir,
}

impl<'a> Apt<'a> {
    /// Writes the private configuration.
    ///
    /// # Errors
    /// When the keyring is missing, or a file cannot be written.
    pub fn prepare(ctx: &Ctx, step: &'a Step<'a>, source: &'a DebianSource) -> Result<Self> {
        let keyring = match &source.keyring {
            Some(own) => own_keyring(&ctx.layout.root().join(own))?,
            None => debians_keyring()?.to_owned(),
        };
        let dir = ctx.layout.apt(&source.suite);
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            let sub = dir.join(sub);
            fs::create_dir_all(&sub).with_context(|| format!("cannot make {}", sub.display()))?;
        }
        write("sources.list", &sources_list(source, &keyring))?;
        let config = write("apt.conf", &configuration(&dir, &host_network())?)?;
        let temporary = temporary(&dir)?;
        Ok(Self { step, source, config, temporary })
    }

    fn cmd(&self, program: &str) -> Cmd {
        // Our file is read first and turns the host's own off (apt.conf(5)).
        Cmd::new(program)
            .env("APT_CONFIG", &self.config)
            .env("LC_ALL", "C")
            .env("TMPDIR", self.temporary.path())
    }

    /// Fetches the suite's lists and checks their signature.
    ///
    /// # Errors
    /// [`Unreachable`], or what apt says.
    pub fn update(&self) -> Result<()> {
        // An error of one list is otherwise a warning only, and an old list good enough.
        let error_mode = ["-o", "APT::Update::Error-Mode=any"];
        self.run(&self.cmd("apt-get").args(["-q", "update"]).args(error_mode)).map(drop)
    }

    /// The version that the suite has now, and all others that it still has.
    ///
    /// # Errors
    /// When the suite has no such package.
    pub fn versions(&self) -> Result<Versions> {
        let package = &self.source.package;
        let lines = self.run(&self.cmd("apt-cache").args(["policy", package]))?;
        Versions::parse(&lines)
            .with_context(|| format!("{} has no package {package}", self.source.suite))
    }

    /// Downloads `version` into `dir` and checks its hash.
    ///
    /// # Errors
    /// [`Unreachable`], or what apt says.
    pub fn download(&self, version: &str, dir: &Path) -> Result<PathBuf> {
        let wanted = format!("{}={version}", self.source.package);
        self.run(&self.cmd("apt-get").args(["-q", "download", &wanted]).dir(dir))?;
        let mut found = fs::read_dir(dir)
            .with_context(|| format!("cannot list {}", dir.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
        found.next().with_context(|| format!("apt downloaded no {wanted}"))
    }

    /// Runs apt, and once more if the mirror was being updated.
    fn run(&self, cmd: &Cmd) -> Result<Vec<String>> {
        match self.run_once(cmd) {
            Err((_, AptFailure::MirrorSync)) => {
                self.step.cancel().check()?;
                self.step.note("once more: the mirror was being updated")?;
                self.run_once(cmd).map_err(|(error, failure)| self.failed(error, failure))
            }
            other => other.map_err(|(error, failure)| self.failed(error, failure)),
        }
    }

    fn run_once(&self, cmd: &Cmd) -> Result<Vec<String>, (anyhow::Error, AptFailure)> {
        let mut lines = Vec::new();
        let show = self.step.progress();
        // `dlstatus:ITEM:PERCENT:TEXT`, as apt's README.progress-reporting has it.
        let cmd = cmd.clone().args(["-o", "APT::Status-Fd=1"]);
        let result = self.step.run_watched(&cmd, |line| match line.strip_prefix("dlstatus:") {
            Some(status) => show(status.splitn(3, ':').last().unwrap_or(status)),
            None => lines.push(line.to_owned()),
        });
        match result {
            Ok(()) => Ok(lines),
            Err(error) if error.is::<Interrupted>() => Err((error, AptFailure::Other)),
            Err(error) => Err((error, AptFailure::of(&lines))),
        }
    }

    fn failed(&self, error: anyhow::Error, failure: AptFailure) -> anyhow::Error {
        match failure {
            AptFailure::Unreachable(reasons) => {
                let what = format!("{} from {}", self.source.package, self.source.suite);
                Unreachable { what, reasons }.into()
            }
            AptFailure::MirrorSync => {
                error.context("the mirror is being updated: try again in some minutes")
            }
            AptFailure::Untrusted => error.context(format!(
                "{} is not signed as it should be: is the clock right, and debian-archive-keyring \
                 new enough?",
                self.source.suite
            )),
            AptFailure::Other => error,
        }
    }
}

/// Why apt failed, as its messages in the C locale tell.
#[derive(Debug, PartialEq, Eq)]
enum AptFailure {
    MirrorSync,
    Untrusted,
    Unreachable(Vec<String>),
    Other,
}

/// A mirror that is between two states; apt-pkg/acquire-item.cc.
const MIRROR_SYNC: [&str; 3] = ["Mirror sync in progress", "unexpected size", "Hash Sum mismatch"];

/// Whatever says that a list is not what its signature is for; methods/gpgv.cc and
/// apt-pkg/acquire-item.cc.
const UNTRUSTED: [&str; 8] = [
    "GPG error",
    "NO_PUBKEY",
    "BADSIG",
    "KEYSIG",
    "is not signed",
    "not valid yet",
    "is expired",
    "Clearsigned file isn't valid",
];

/// What says that a host could not be resolved or connected to; methods/connect.cc.
const SILENCE: [&str; 9] = [
    "Could not resolve",
    "Temporary failure resolving",
    "Something wicked happened resolving",
    "System error resolving",
    "Could not connect to",
    "Cannot initiate the connection",
    "Unable to connect to",
    "Connection timed out",
    "Connection refused",
];

fn is_silence(why: &str) -> bool {
    SILENCE.iter().any(|words| why.contains(words))
}

impl AptFailure {
    fn of(lines: &[String]) -> Self {
        let any = |marks: &[&str]| lines.iter().any(|line| marks.iter().any(|m| line.contains(m)));
        if any(&UNTRUSTED) {
            return Self::Untrusted;
        }
        if any(&MIRROR_SYNC) {
            return Self::MirrorSync;
        }
        // Both `E: Failed to fetch URL  WHY` and `W: Failed to fetch URL  WHY`.
        let reason = |line: &String| {
            let (_, what) = line.split_once(": Failed to fetch ")?;
            let (url, why) = what.split_once(' ')?;
            Some(format!("{url}: {}", why.trim()))
        };
        match lines.iter().filter_map(reason).collect::<Vec<_>>() {
            reasons if !reasons.is_empty() && reasons.iter().all(|why| is_silence(why)) => {
                Self::Unreachable(reasons)
            }
            _ => Self::Other,
        }
    }
}

/// What `apt-cache policy` says of one package.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Versions {
    /// The newest.
    pub candidate: String,
    /// All of them.
    pub all: Vec<String>,
}

impl Versions {
    fn parse(lines: &[String]) -> Option<Self> {
        let candidate = lines.iter().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
        let table = lines.iter().skip_while(|line| line.trim() != "Version table:").skip(1);
        // `     VERSION PRIORITY`, or `*** VERSION PRIORITY` for an installed one; what is indented
        // further says where it comes from.
        let all = table.filter_map(|line| {
            let version = line.strip_prefix("     ").filter(|rest| !rest.starts_with(' '))?;
            Some(version.split_once(' ')?.0.to_owned())
        });
        (candidate != "(none)")
            .then(|| Self { candidate: candidate.to_owned(), all: all.collect() })
    }
}
