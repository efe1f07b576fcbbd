//! What this project needs of its host: examined by trying, and installed when asked for.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::ctx::Ctx;
use crate::invocation;
use crate::isolation::{Cmd, Facility, Ids, Isolation, Output, Privilege};
use crate::stage::{Attachment, place_of_folder};

mod causes;
mod limits;
mod needs;
mod setup;

use crate::host::{memory_left, processes_left};
use needs::{FACILITIES, FILES, HostNeed, OPTIONAL, TOOLS, Tool, WITHOUT_NAMESPACES};
pub use setup::{Consent, ensure, install_packages, setup};

/// Something that was examined.
#[derive(Debug)]
pub struct Finding {
    /// What.
    pub name: String,
    /// What is wrong with it.
    pub problem: Option<Problem>,
}

/// Something that is wrong with the host.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What was seen.
    pub seen: String,
    /// What does not work because of it.
    pub effect: String,
    /// What to do.
    pub cure: String,
}

/// The programs that some commands use and this host does not have, each with its package and what does not work.
pub fn not_there() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let missing = OPTIONAL.iter().filter(|tool| find(tool.program).is_none());
    missing.map(|tool| (tool.program, tool.package, tool.purpose))
}

/// A kernel's tree and objects, an image, and room for guests.
const DISK_NEEDED: u64 = 6 << 30;

/// Each process in a guest is one of the host, and the guest's kernel is some more.
const PROCESSES_OF_A_GUEST: u64 = 24;

/// Examines everything.
///
/// # Errors
/// When this host cannot even be examined.
pub fn examine(ctx: &Ctx) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let isolation = ctx.isolation()?;
    for tool in tools(isolation) {
        let seen = find(tool.program).is_none().then(|| format!("no `{}`", tool.program));
        findings.push(finding(tool.program, seen, tool.purpose, &install(tool.package)));
    }
    for file in FILES {
        let seen = (!Path::new(file.path).exists()).then(|| format!("no {}", file.path));
        findings.push(finding(file.path, seen, file.purpose, &install(file.package)));
    }
    for need in FACILITIES {
        let tried = isolation.tried().iter().find(|tried| tried.facility == need.facility);
        // What is within namespaces is not tried where these are refused, which is said.
        let Some(tried) = tried else { continue };
        let seen = tried.result.clone().err();
        findings.push(finding(need.facility.name(), seen, need.effect, &cure(need)));
    }
    findings.push(subordinate_ids(ctx)?);
    findings.push(null_device());
    findings.extend([space(ctx.layout.root())?, space(ctx.store.path())?]);
    findings.extend([limits::memory(), limits::processes()]);
    findings.extend(limits::of_process());
    Ok(findings)
}

/// Refuses a host on which guests cannot run, before anything is fetched or built for them.
///
/// # Errors
/// When something that guests need is refused: with the cure.
pub fn ensure_guests(ctx: &Ctx, isolation: &Isolation, attachment: Attachment) -> Result<()> {
    let needed = ctx.config.memory.bytes();
    let left = memory_left().unwrap_or(u64::MAX);
    ensure!(
        left > needed,
        "a guest has {} MiB of memory, and {} MiB are available: end other programs, raise the \
         limit of the control group, or give guests less in Cargo.toml",
        needed >> 20,
        left >> 20
    );
    ensure!(
        limits::largest_file() >= needed,
        "a guest's memory is a file of {} MiB, and `ulimit -f` allows {}: raise that",
        needed >> 20,
        limits::largest_file() >> 20
    );
    let processes = processes_left().unwrap_or(u64::MAX);
    ensure!(
        processes >= PROCESSES_OF_A_GUEST,
        "a guest is some {PROCESSES_OF_A_GUEST} processes, and the control group has room for \
         {processes}: raise its pids.max"
    );
    let Some(refused) = isolation.refused_to_guests(attachment.is_tap()) else {
        if *isolation.privilege() == Privilege::None {
            place_of_folder()?;
        }
        return Ok(());
    };
    let cure = FACILITIES.iter().find(|known| known.facility == refused.facility).map(cure);
    bail!(
        "guests cannot run on this host: {}: {}\n  cure: {}\n  `{} doctor` looks at \
         everything; `fetch`, `kernel` and `image` may work without guests",
        refused.facility,
        refused.result.as_ref().err().map_or("", |why| why),
        cure.unwrap_or_default(),
        invocation::command()
    );
}

fn cure(need: &HostNeed) -> String {
    let in_namespaces =
        matches!(need.facility, Facility::Namespaces | Facility::Tmpfs | Facility::Loopback);
    let exact = in_namespaces.then(|| causes::cure(Path::new("/proc"))).flatten();
    exact.unwrap_or_else(|| need.cure.into())
}

fn finding(name: &str, seen: Option<String>, effect: &str, cure: &str) -> Finding {
    let problem = seen.map(|seen| Problem { seen, effect: effect.into(), cure: cure.into() });
    Finding { name: name.into(), problem }
}

fn install(package: &str) -> String {
    format!("{} setup, or: apt-get install {package}", invocation::command())
}

/// The programs that are needed on this host.
fn tools(isolation: &Isolation) -> impl Iterator<Item = &'static Tool> {
    let is_bare = *isolation.privilege() == Privilege::None && !nix::unistd::geteuid().is_root();
    TOOLS.iter().chain(if is_bare { WITHOUT_NAMESPACES } else { &[] })
}

/// Finds a program; Debian keeps some where an ordinary user's `PATH` does not reach.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// An ordinary user's bootstrap needs a range of ids; it is tried, not read.
fn subordinate_ids(ctx: &Ctx) -> Result<Finding> {
    let isolation = ctx.isolation()?;
    let name = "subordinate ids";
    if *isolation.privilege() != Privilege::UserNamespace {
        return Ok(finding(name, None, "", ""));
    }
    let (mut says, theirs) = std::io::pipe().context("cannot make a pipe")?;
    let trial = Cmd::new("true").ids(Ids::Subordinate);
    let mut tried = trial.start(isolation, Output::Both(theirs.into()))?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut says, &mut text).context("cannot read a trial's output")?;
    let seen = (!tried.wait()?.success()).then(|| text.trim().to_owned());
    Ok(finding(
        name,
        seen,
        "the root file system cannot be bootstrapped by an ordinary user",
        "install uidmap, and give yourself a range: sudo usermod --add-subuids 100000-165535 \
         --add-subgids 100000-165535 $USER",
    ))
}

fn null_device() -> Finding {
    let meta = fs::metadata("/dev/null");
    let good = meta.is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0x103);
    finding(
        "/dev/null",
        (!good).then(|| "/dev/null is not the null device".into()),
        "kernel builds write rubbish into it or fail; a build as root may have replaced it",
        "sudo rm -f /dev/null && sudo mknod -m 666 /dev/null c 1 3",
    )
}

fn space(dir: &Path) -> Result<Finding> {
    let free = crate::space::free(dir)?;
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let seen = (free < DISK_NEEDED)
        .then(|| format!("{:.1} GiB free where {:.0} are needed", gib(free), gib(DISK_NEEDED)));
    Ok(finding(
        &format!("space in {}", dir.display()),
        seen,
        "a kernel's tree, its objects and an image may not fit",
        &format!(
            "make room ({} clean), or name another place with CARGO_TARGET_DIR or UML_CACHE_DIR",
            invocation::command()
        ),
    ))
}
