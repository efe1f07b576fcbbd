//! The source package of a Debian suite: resolved once, pinned by the lock file from then on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::apt::{Apt, Versions};
use super::{OFFLINE, SourceArchive, SourceRecipe, Unreachable};
use crate::config::DebianSource;
use crate::ctx::{Ctx, Locking, NetworkAccess};
use crate::isolation::Cmd;
use crate::lockfile::{self, LockedKernel};
use crate::step::Step;
use crate::store::{Kind, sha256_of};

/// The source of the kernel called `name`. What the lock file names and the store has is taken
/// without starting anything.
pub(super) fn fetch(ctx: &Ctx, name: &str, source: &DebianSource) -> Result<SourceArchive> {
    let file = format!("{}.tar.xz", source.package);
    if let Some(archive) = stored(ctx, name, source, &file)? {
        return Ok(archive);
    }
    if ctx.options.network == NetworkAccess::Offline {
        let reasons = vec![OFFLINE.into()];
        return Err(Unreachable { what: source.package.clone(), reasons }.into());
    }
    // This also keeps a second run away from the private state of apt for this suite.
    let scratch = ctx.store.scratch(&ctx.cancel, Kind::Download, &request(&source.suite))?;
    // Another run may have fetched it while we waited.
    if let Some(archive) = stored(ctx, name, source, &file)? {
        return Ok(archive);
    }
    let locked = locked(ctx, name, source)?;
    let step = Step::begin(ctx, "fetch")?;
    let apt = Apt::prepare(ctx, &step, source)?;
    apt.update()?;
    let version = choose(ctx, source, locked.as_ref(), apt.versions()?)?;
    let deb = apt.download(&version, scratch.path())?;
    let archive = take_out(&step, &deb, &file, scratch.path())?;
    let sha256 = sha256_of(&archive)?;
    pin(ctx, name, source, locked, &version, &sha256)?;
    let recipe = SourceRecipe { file: &file, sha256: &sha256 };
    let entry = ctx.store.get_or_build(&ctx.cancel, Kind::Download, &recipe, |dir| {
        fs::rename(&archive, dir.join(&file)).context("cannot keep the fetched source")
    })?;
    step.done(&format!("{} {version} from {}", source.package, source.suite));
    Ok(recipe.archive(entry, &version))
}

/// What nobody else may ask of the store while the private state of apt for a suite is used.
pub fn request(suite: &str) -> (&'static str, &str) {
    ("apt", suite)
}

fn locked(ctx: &Ctx, name: &str, source: &DebianSource) -> Result<Option<LockedKernel>> {
    let locked = lockfile::read(ctx)?.kernels.remove(name);
    Ok(locked.filter(|lock| lock.suite == source.suite && lock.package == source.package))
}

fn stored(
    ctx: &Ctx,
    name: &str,
    source: &DebianSource,
    file: &str,
) -> Result<Option<SourceArchive>> {
    match locked(ctx, name, source)? {
        Some(lock) => SourceRecipe { file, sha256: &lock.sha256 }.stored(&ctx.store, &lock.version),
        None if ctx.options.locking == Locking::Locked => bail!(
            "{} pins no {} of {} for the kernel {name}, and --locked forbids to choose one",
            ctx.layout.lock_file().display(),
            source.package,
            source.suite
        ),
        None => Ok(None),
    }
}

/// The pinned version while the suite has it, else the newest.
fn choose(
    ctx: &Ctx,
    source: &DebianSource,
    locked: Option<&LockedKernel>,
    versions: Versions,
) -> Result<String> {
    let Versions { candidate, all } = versions;
    let Some(lock) = locked else { return Ok(candidate) };
    if all.contains(&lock.version) {
        return Ok(lock.version.clone());
    }
    let what = format!(
        "{} {} is gone from {}, which now has {candidate}",
        source.package, lock.version, source.suite
    );
    ensure!(ctx.options.locking == Locking::Update, "{what}, and --locked forbids to take that");
    ctx.ui.warn(&what);
    Ok(candidate)
}

/// Takes the archive out of the package.
fn take_out(step: &Step<'_>, deb: &Path, file: &str, dir: &Path) -> Result<PathBuf> {
    let unpacked = dir.join("package");
    step.run(&Cmd::new("dpkg-deb").arg("--extract").arg(deb).arg(&unpacked).env("LC_ALL", "C"))?;
    let archive = unpacked.join("usr/src").join(file);
    let found = fs::symlink_metadata(&archive).is_ok_and(|meta| meta.is_file());
    ensure!(found, "{} has no /usr/src/{file}", deb.display());
    Ok(archive)
}

fn pin(
    ctx: &Ctx,
    name: &str,
    source: &DebianSource,
    locked: Option<LockedKernel>,
    version: &str,
    sha256: &str,
) -> Result<()> {
    if let Some(lock) = locked.filter(|lock| lock.version == version) {
        // Debian never changes a version, so one of the two is not Debian's.
        ensure!(
            lock.sha256 == sha256,
            "{} {version} has the hash {sha256}, but {} says {}",
            source.package,
            ctx.layout.lock_file().display(),
            lock.sha256
        );
        return Ok(());
    }
    let what = format!("kernel {name} is {} {version}", source.package);
    lockfile::update(ctx, &what, |lock| {
        let locked = LockedKernel {
            suite: source.suite.clone(),
            package: source.package.clone(),
            version: version.into(),
            sha256: sha256.into(),
        };
        lock.kernels.insert(name.to_owned(), locked);
    })
}
