//! The bootstrap: a Debian suite as one archive.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::ctx::Ctx;
use crate::isolation::{Cmd, Ids, Privilege};
use crate::lockfile::{self, LockedRootfs};
use crate::space::ensure_room;
use crate::step::Step;
use crate::store::{Entry, Key, Kind};

/// Time stamps are no later than this (SOURCE_DATE_EPOCH of reproducible-builds.org), so that two
/// bootstraps of the same packages are the same.
pub(super) const EPOCH: u64 = 1_700_000_000;

/// What nobody reads in a guest is not unpacked.
const LEFT_OUT: [&str; 5] = [
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
];

/// What follows from how and where the tree `$1` was filled, and not from the packages, is removed: bytecode has the path of
/// its source, and what insserv(8) says of the order of scripts follows that in which the file system gives them. Without
/// it they are started one by one, in the order of their links, which is the same.
const MADE_THE_SAME: &str = "find \"$1\" -xdev \\( -name __pycache__ -o -path \"$1/etc/init.d/.depend.*\" \\) \
                             -prune -exec rm -r {} +";

const ARCHIVE: &str = "rootfs.tar";

/// Room for packages, tree and archive, in bytes; half as much again as the default suite takes.
const ROOM: u64 = 768 << 20;

/// A bootstrapped root file system.
#[derive(Debug)]
pub struct Rootfs {
    entry: Entry,
}

impl Rootfs {
    pub(super) fn archive(&self) -> PathBuf {
        self.entry.file(ARCHIVE)
    }

    pub(super) fn key(&self) -> &Key {
        self.entry.key()
    }
}

#[derive(Serialize)]
struct RootfsRequest<'a> {
    suite: &'a str,
    mirror: &'a str,
    packages: &'a [String],
    left_out: &'a [&'a str],
    made_the_same: &'a str,
    epoch: u64,
}

#[derive(Serialize)]
struct RootfsRecipe<'a> {
    request: &'a RootfsRequest<'a>,
    resolved: &'a BTreeMap<String, String>,
}

/// Bootstraps the configured suite, or takes what was bootstrapped before.
///
/// # Errors
/// When the bootstrap fails, or gives other packages than a lock file that must not change.
pub fn bootstrap(ctx: &Ctx) -> Result<Rootfs> {
    let config = &ctx.config.rootfs;
    let request = RootfsRequest {
        suite: &config.suite,
        mirror: &config.mirror,
        packages: &config.packages,
        left_out: &LEFT_OUT,
        made_the_same: MADE_THE_SAME,
        epoch: EPOCH,
    };
    if let Some(rootfs) = known(ctx, &request)? {
        return Ok(rootfs);
    }
    let scratch = ctx.store.scratch(&ctx.cancel, Kind::Rootfs, &request)?;
    // Another run may have done it while we waited for the scratch folder.
    if let Some(rootfs) = known(ctx, &request)? {
        return Ok(rootfs);
    }
    ctx.needs_network(&format!("the root file system of {}", config.suite))?;
    let (archive, tree) = (scratch.path().join(ARCHIVE), scratch.path().join("tree"));
    let step = Step::begin(ctx, "rootfs")?;
    ensure_room(scratch.path(), ROOM, "the root file system and what it is made from")?;
    fs::create_dir(&tree).with_context(|| format!("cannot make {}", tree.display()))?;
    run(&step, &request, &archive, &tree, ctx.isolation()?.privilege())?;
    let resolved = versions(&archive)?;
    note_in_lock(ctx, &request, &resolved)?;
    let recipe = RootfsRecipe { request: &request, resolved: &resolved };
    let entry = ctx.store.get_or_build(&ctx.cancel, Kind::Rootfs, &recipe, |dir| {
        fs::rename(&archive, dir.join(ARCHIVE)).context("cannot keep the bootstrapped archive")
    })?;
    step.done(&format!("{} with {} packages", config.suite, resolved.len()));
    Ok(Rootfs { entry })
}

fn known(ctx: &Ctx, request: &RootfsRequest<'_>) -> Result<Option<Rootfs>> {
    let lock = lockfile::read(ctx)?;
    let Some(locked) = lock.rootfs.get(request.suite) else { return Ok(None) };
    let recipe = RootfsRecipe { request, resolved: &locked.packages };
    Ok(ctx.store.get(Kind::Rootfs, &recipe)?.map(|entry| Rootfs { entry }))
}

/// mmdebstrap(1) in a namespace where it is root already: what it mounts and starts dies with us,
/// and so does the tree that it fills, on a tmpfs. Its files would belong to users of the namespace,
/// and nobody outside could remove them.
fn run(
    step: &Step<'_>,
    request: &RootfsRequest<'_>,
    archive: &Path,
    tree: &Path,
    means: &Privilege,
) -> Result<()> {
    let script = match means {
        // A mount would be the host's, and stay.
        Privilege::None => "exec mmdebstrap \"$@\"",
        _ => "mount -t tmpfs -o mode=0755,size=90% tree \"$TMPDIR\" && exec mmdebstrap \"$@\"",
    };
    let mode = match means {
        // Who is not root, not even in a namespace, believes to be by libraries that are loaded before others.
        Privilege::None if !nix::unistd::geteuid().is_root() => "--mode=fakechroot",
        _ => "--mode=root",
    };
    let cmd = Cmd::new("sh")
        .ids(Ids::Subordinate)
        .env("TMPDIR", tree)
        .args(["-c", script, "sh"])
        .args([mode, "--variant=minbase", "--format=tar"])
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .args(LEFT_OUT.iter().map(|path| format!("--dpkgopt=path-exclude={path}")))
        // Otherwise some folders belong to a user that apt has on this host, if there is one.
        .arg("--aptopt=APT::Sandbox::User \"root\"")
        .arg(format!("--include={}", request.packages.join(",")))
        .arg(format!("--customize-hook={MADE_THE_SAME}"))
        .args([request.suite, &archive.to_string_lossy(), request.mirror])
        .env("SOURCE_DATE_EPOCH", EPOCH.to_string())
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive");
    let progress = step.progress();
    let watch = |line: &str| {
        if let Some(what) = line.strip_prefix("I: ") {
            progress(what);
        }
    };
    match step.run_watched(&cmd, watch) {
        Err(error) if mirror_in_sync(step) => {
            step.cancel().check()?;
            step.note(&format!("once more: the mirror was being updated ({error:#})"))?;
            step.run_watched(&cmd, watch)
                .context("the mirror may still be updated: try again later")
        }
        other => other,
    }
}

fn mirror_in_sync(step: &Step<'_>) -> bool {
    fs::read(step.log_path())
        .is_ok_and(|log| String::from_utf8_lossy(&log).contains("Mirror sync in progress"))
}

/// The packages of an archive, as dpkg's own status file in it has them.
fn versions(archive: &Path) -> Result<BTreeMap<String, String>> {
    let file = fs::File::open(archive)
        .with_context(|| format!("the bootstrap made no {}", archive.display()))?;
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries().context("cannot read the bootstrapped archive")? {
        let mut entry = entry.context("cannot read the bootstrapped archive")?;
        if entry.path_bytes().ends_with(b"/var/lib/dpkg/status") {
            let mut status = String::new();
            entry.read_to_string(&mut status).context("cannot read dpkg's status")?;
            return Ok(installed(&status));
        }
    }
    bail!("the bootstrapped archive has no /var/lib/dpkg/status")
}

fn installed(status: &str) -> BTreeMap<String, String> {
    status
        .split("\n\n")
        .filter_map(|paragraph| {
            let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
            Some((field("Package: ")?.to_owned(), field("Version: ")?.to_owned()))
        })
        .collect()
}

fn note_in_lock(
    ctx: &Ctx,
    request: &RootfsRequest<'_>,
    resolved: &BTreeMap<String, String>,
) -> Result<()> {
    let lock = lockfile::read(ctx)?;
    let old = lock.rootfs.get(request.suite).map(|locked| &locked.packages);
    let different = resolved
        .iter()
        .find(|(name, version)| old.and_then(|old| old.get(*name)) != Some(version))
        .map_or_else(String::new, |(name, version)| format!(", for example {name} {version}"));
    let what = format!("{} gave other packages{different}", request.suite);
    lockfile::update(ctx, &what, |lock| {
        let locked = LockedRootfs { packages: resolved.clone() };
        lock.rootfs.insert(request.suite.to_owned(), locked);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_from_the_status_of_dpkg() {
        let status = "Package: acl\nStatus: install ok installed\nVersion: 2.3.1-3\n\n\
                      Package: bash\nVersion: 5.2\nConffiles:\n /etc/bash.bashrc 89\n";
        let found = installed(status);
        assert_eq!(found["acl"], "2.3.1-3");
        assert_eq!(found["bash"], "5.2");
        assert_eq!(found.len(), 2);
    }
}
