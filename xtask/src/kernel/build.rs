//! The whole way from a kernel's name to its binary.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::binary::{KernelBinary, Results, transport};
use super::configure::configure;
use super::fragment::Request;
use super::make::Make;
use super::patches::Series;
use super::progress::{self, Progress};
use super::recipe::{Recipe, Toolchain};
use super::tree::{self, KernelTree, Origin};
use super::work::{Work, remove_folder};
use crate::config::Kernel;
use crate::ctx::Ctx;
use crate::fetch::{self, SourceArchive, Unreachable};
use crate::lockfile::{self, LockedKernel};
use crate::step::{Cmd, Step};
use crate::store::Kind;

/// The kernel `name`, built if the store does not have it.
///
/// # Errors
/// When its source cannot be had, a patch does not fit, a line of its fragments does not take, or
/// make fails.
pub fn build(ctx: &Ctx, name: &str, kernel: &Kernel) -> Result<KernelBinary> {
    find_or_make(ctx, name, kernel).with_context(|| format!("kernel {name}"))
}

/// The first of the default kernels whose source can be reached, with a line for each that cannot.
///
/// Only a source that nobody could be asked for leads to the next: after a wrong hash, a patch that
/// does not fit or a build that fails, another kernel would be a downgrade.
///
/// # Errors
/// As [`build`], or when no source can be reached.
pub fn build_default(ctx: &Ctx) -> Result<(KernelBinary, Vec<String>)> {
    let mut passed_over = Vec::new();
    for name in &ctx.config.kernel {
        match build(ctx, name, ctx.config.kernel_named(name)?) {
            Ok(kernel) => return Ok((kernel, passed_over)),
            Err(error) if error.is::<Unreachable>() => {
                let line = format!("kernel {name} is passed over: {error:#}");
                ctx.ui.warn(&line);
                passed_over.push(line);
            }
            Err(error) => return Err(error),
        }
    }
    bail!("no default kernel can be had:\n  {}", passed_over.join("\n  "))
}

fn find_or_make(ctx: &Ctx, name: &str, kernel: &Kernel) -> Result<KernelBinary> {
    let request = Request::read(ctx, kernel)?;
    let series = Series::read(ctx, kernel.patches.as_deref())?;
    let toolchain = Toolchain::find(ctx)?;
    if let Some(source) = locked_source(ctx, name, kernel)? {
        let recipe = Recipe::new(kernel, source, &series, &request, &toolchain);
        if let Some(entry) = ctx.store.get(Kind::Kernel, &recipe)? {
            return KernelBinary::of_entry(name, entry);
        }
    }
    let archive = fetch::source(ctx, name, kernel)?;
    let inputs = Inputs { name, kernel, archive: &archive, series, request, toolchain };
    let entry = ctx
        .store
        .get_or_build(Kind::Kernel, &inputs.recipe(), |dir| inputs.make(ctx, &Results(dir)))?;
    KernelBinary::of_entry(name, entry)
}

/// The hashes that the source may have, where they are known without asking anybody. All archives
/// that a kernel lists hold the same source.
fn locked_source(ctx: &Ctx, name: &str, kernel: &Kernel) -> Result<Option<Vec<String>>> {
    let Some(debian) = &kernel.debian else { return Ok(Some(listed(kernel))) };
    let lock = lockfile::read(ctx)?;
    let same = |lock: &&LockedKernel| lock.suite == debian.suite && lock.package == debian.package;
    let locked = lock.kernels.get(name).filter(same);
    Ok(locked.map(|locked| vec![locked.sha256.clone()]))
}

fn listed(kernel: &Kernel) -> Vec<String> {
    let mut hashes: Vec<String> =
        kernel.tarballs.iter().map(|tarball| tarball.sha256.clone()).collect();
    hashes.sort();
    hashes
}

/// All that a kernel is made from.
struct Inputs<'a> {
    name: &'a str,
    kernel: &'a Kernel,
    archive: &'a SourceArchive,
    series: Series,
    request: Request,
    toolchain: Toolchain,
}

/// What the objects in a build folder were made from. Objects of another configuration are fine:
/// Kbuild knows what a changed symbol concerns.
#[derive(Serialize)]
struct Objects<'a> {
    origin: Origin,
    toolchain: &'a Toolchain,
}

impl Inputs<'_> {
    fn recipe(&self) -> Recipe<'_> {
        let source = match &self.kernel.debian {
            Some(_) => vec![self.archive.sha256.clone()],
            None => listed(self.kernel),
        };
        Recipe::new(self.kernel, source, &self.series, &self.request, &self.toolchain)
    }

    fn make(&self, ctx: &Ctx, results: &Results<'_>) -> Result<()> {
        let name = self.name;
        let work = Work::open(ctx, name)?;
        let tree = tree::prepare(ctx, name, &work, self.archive, &self.series)?;
        let step = Step::begin(ctx, &format!("kernel {name}"))?;
        let origin = Origin::new(self.archive, &self.series);
        let objects = Objects { origin, toolchain: &self.toolchain };
        let stamp = work.build_stamp();
        let build = work.build();
        let whole = stamp.says(&objects);
        if !whole {
            // A compiler that was killed may have left half an object that make would trust.
            remove_folder(&build)?;
        }
        stamp.remove()?;
        fs::create_dir_all(&build).with_context(|| format!("cannot make {}", build.display()))?;

        let make = Make::new(&step, &tree, &build);
        let config = configure(&make, &tree, &work, self.kernel.base, &self.request)?;
        transport(config.values())?;
        let modules = (config.values().get("MODULES") == "y").then_some("modules");
        let targets: Vec<&str> = ["linux"].into_iter().chain(modules).collect();
        let expected = progress::counted(ctx, name).unwrap_or(tree.era().objects);
        let mut progress = Progress::towards(expected);
        make.run_counted(&targets, &mut progress)?;
        stamp.write(&objects)?;
        if !whole {
            progress::keep_count(ctx, name, progress.done());
        }
        let release = self.store(&step, &tree, &build, config.path(), results)?;
        step.done(&format!("{release}, {} objects", progress.done()));
        Ok(())
    }

    /// Puts into the new entry what the store keeps; says the kernel's release.
    fn store(
        &self,
        step: &Step<'_>,
        tree: &KernelTree,
        build: &Path,
        config: &Path,
        results: &Results<'_>,
    ) -> Result<String> {
        // The table of symbols stays: stack traces and debuggers want it.
        let strip = Cmd::new("strip").args(["--strip-debug", "-o"]).arg(results.linux());
        step.run(&strip.arg(build.join("linux")))?;
        fs::copy(config, results.config())
            .with_context(|| format!("cannot copy {}", config.display()))?;
        let path = build.join("include/config/kernel.release");
        let release =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let release = release.trim();
        results.describe(release, tree.version(), &self.request)?;
        Ok(release.to_owned())
    }
}
