//! Booting a guest, up to the agent's greeting.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use uml_protocol::marker::Key;

use super::calibration::Calibration;
use super::command_line::{ByHand, CommandLine, Init};
use super::complaint::{self, Complaint};
use super::console;
use super::console::ConsoleLog;
use super::cow::{Disk, sight};
use super::driver::Guest;
use super::host::{GuestHost, OwnLink};
use super::machine::{End, GuestEvent, Machine, TimeLimits};
use super::spec::{EVENTS, GuestSpec};
use crate::config::ByteSize;
use crate::stage::{GuestCommand, GuestStatus, Sight};
use crate::store::hex;
use crate::threads;

/// A guest that did not come up: its state, its command line, and what it said.
#[derive(Debug, thiserror::Error)]
#[error(
    "the guest {name} {end}{hint}\n  to boot it by hand:\n    {by_hand}\n  as it was booted:\n    {argv}\n  \
     the end of its console, {}:\n    | {}", console_log.display(), tail.join("\n    | ")
)]
pub struct BootFailed {
    name: String,
    /// How it ended instead.
    pub end: End,
    /// What that may come from.
    hint: String,
    by_hand: String,
    argv: String,
    /// Where its console is.
    pub console_log: PathBuf,
    tail: Vec<String>,
}

impl BootFailed {
    /// How it ended, and what that may come from.
    pub fn how(&self) -> String {
        format!("{}{}", self.end, self.hint)
    }
}

/// Boots a guest and waits until its agent has greeted us.
///
/// # Errors
/// [`BootFailed`] when it does not come up; others when it cannot be started.
pub fn boot<'a>(
    host: &'a dyn GuestHost,
    spec: &GuestSpec<'_>,
    calibration: &mut Calibration,
) -> Result<Guest<'a>> {
    let mut link = OwnLink::add(host, spec.net_driver)?;
    let cow = match spec.disk {
        Disk::Kept(kept) => link.lend(kept.path(), &format!("cow-{}", spec.name))?,
        Disk::OnStage(place) => place.to_owned(),
        Disk::Own => Path::new(&link.dir()).join("cow"),
    };
    let line = CommandLine {
        kernel: spec.kernel.1,
        cow: &cow,
        image: spec.image.1,
        memory: spec.memory,
        link: &link,
        link_by: spec.link_by,
        net_driver: spec.net_driver,
        attachment: host.attachment(),
        disks: spec.disks,
        interfaces: spec.interfaces,
        arguments: spec.arguments,
        init: spec.init,
        nonce: spec.nonce,
        lpj: calibration.lpj(),
        era: spec.era,
    };
    for (index, interface) in spec.interfaces.iter().enumerate() {
        (spec.connect.0)(index, host.add_interface(&link, &interface.name, spec.net_driver)?)?;
    }
    let argv = line.argv();
    let commands = Commands::new(spec, &line, &argv);
    commands.keep(&spec.console_log.with_extension("boot"))?;
    let (console, theirs) = std::io::pipe().context("cannot make a console")?;
    let log = ConsoleLog::create(&spec.console_log)?;
    let powered_on = Instant::now();
    let command = GuestCommand {
        argv,
        sight: sight_of(host, spec, &cow)?,
        share: spec.share,
        address_space: address_space(spec.kernel.0, spec.memory),
        console: theirs.into(),
    };
    let process = host.spawn(&link, &command)?;
    drop(command);
    let (events, inbox) = sync_channel(EVENTS);
    console::watch(console, log, events.clone())?;
    watch_status(process.status()?, events.clone())?;
    let limits = time_limits(spec);
    let (mut machine, first) = Machine::new(spec.nonce, fresh_key()?, limits);
    machine.expect_at_boot(spec.known_boot_complaints);
    let (channel, machine) = ((events, inbox), (machine, first));
    let mut guest = Guest::new(spec, host, link, process, channel, machine, powered_on);
    guest.by_hand.clone_from(&commands.by_hand);
    match guest.come_up(calibration)? {
        None => Ok(guest),
        Some(end) => Err(failed(spec, commands, end).into()),
    }
}

/// The sight of such a guest.
fn sight_of(host: &dyn GuestHost, spec: &GuestSpec<'_>, cow: &Path) -> Result<Sight> {
    let lent = (!matches!(spec.disk, Disk::Own)).then_some(cow);
    Ok(sight(host.host_files(spec.kernel.0)?, (spec.kernel.1, spec.image.1), lent, spec.disks))
}

/// The time the steps of such a guest's life may take.
fn time_limits(spec: &GuestSpec<'_>) -> TimeLimits {
    let power_off = match spec.init {
        Init::Agent => Duration::from_secs(15),
        // Init scripts take many times as long, both ways.
        Init::Sysv | Init::Terminal | Init::Commands => Duration::from_secs(120),
    };
    TimeLimits {
        boot: spec.init.boot_time(spec.boot_timeout),
        connect: Duration::from_secs(15),
        power_off,
        grace: Duration::from_secs(2),
        traces: Duration::from_secs(1),
        search: Duration::from_secs(60),
        marker: Duration::from_secs(10),
    }
}

/// The command that boots such a guest by hand, and the one that booted this.
struct Commands {
    by_hand: String,
    argv: String,
}

impl Commands {
    fn new(spec: &GuestSpec<'_>, line: &CommandLine<'_>, argv: &[OsString]) -> Self {
        let cow = match spec.disk {
            Disk::Kept(cow) => cow.path(),
            Disk::Own | Disk::OnStage(_) => Path::new("/tmp/uml.cow"),
        };
        let by_hand = ByHand { kernel: spec.kernel.0, image: spec.image.0, cow, line }.to_string();
        let argv: Vec<String> =
            argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let argv = shlex::try_join(argv.iter().map(String::as_str)).unwrap_or_default();
        Self { by_hand, argv }
    }

    /// Keeps them beside the console.
    fn keep(&self, path: &Path) -> Result<()> {
        let Self { by_hand, argv } = self;
        let text =
            format!("# To boot such a guest by hand:\n{by_hand}\n# As it was booted:\n# {argv}\n");
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn failed(spec: &GuestSpec<'_>, commands: Commands, end: End) -> BootFailed {
    let text = fs::read(&spec.console_log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let complaints = Complaint::of_log(&lines);
    let hint = match complaints.iter().any(|complaint| complaint.name == complaint::NO_INIT) {
        true => {
            let program = spec.init.program();
            format!("; the image has no {program}, or none that this kernel can run")
        }
        false => String::new(),
    };
    let tail = &lines[lines.len().saturating_sub(25)..];
    BootFailed {
        name: spec.name.into(),
        end,
        hint,
        by_hand: commands.by_hand,
        argv: commands.argv,
        console_log: spec.console_log.clone(),
        tail: tail.iter().map(|line| crate::text::plain(line)).collect(),
    }
}

/// How much each host process of a guest may map, in bytes: its memory, several times over, and the kernel
/// itself. A kernel with KASAN maps terabytes, of which it uses little.
pub(crate) fn address_space(kernel: &Path, memory: ByteSize) -> Option<u64> {
    const KERNEL_ITSELF: u64 = 4 << 30;
    let config = fs::read_to_string(kernel.with_file_name("config")).ok()?;
    let sanitizes = config.lines().any(|line| line == "CONFIG_KASAN=y");
    (!sanitizes).then(|| memory.bytes() * 4 + KERNEL_ITSELF)
}

/// A word that nobody can guess.
///
/// # Errors
/// When the kernel gives no random bytes.
pub(crate) fn fresh_token() -> Result<String> {
    Ok(hex(&fresh_key()?.0))
}

/// A key that nobody can guess.
fn fresh_key() -> Result<Key> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(Key(bytes))
}

fn watch_status(status: GuestStatus, events: SyncSender<GuestEvent>) -> Result<()> {
    threads::spawn(move || {
        let _ = events.send(GuestEvent::Exited(status.wait().ok().flatten()));
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_map_its_memory_and_a_sanitizer_what_it_wants() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("linux");
        let memory = ByteSize::mib(256);
        assert_eq!(address_space(&kernel, memory), None, "nobody knows what it maps");
        fs::write(dir.path().join("config"), "# CONFIG_KASAN is not set\n").unwrap();
        assert_eq!(address_space(&kernel, memory), Some(5 << 30));
        fs::write(dir.path().join("config"), "CONFIG_UML=y\nCONFIG_KASAN=y\n").unwrap();
        assert_eq!(address_space(&kernel, memory), None);
    }
}
