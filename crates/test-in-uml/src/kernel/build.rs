//! The whole way from a kernel's name to its binary.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::binary::{KernelBinary, Results, net_driver};
use super::configure::{ConfiguredFrom, configure};
use super::fragment::ConfigRequest;
use super::kit;
use super::make::Make;
use super::own_tree;
use super::patches::Series;
use super::progress::{self, BuildProgress};
use super::recipe::{KernelRecipe, Toolchain};
use super::scan::Scan;
use super::tree::{self, KernelTree, TreeOrigin};
use super::work::{Objects, Work, ensure_buildable};
use crate::config::Kernel;
use crate::ctx::Ctx;
use crate::fetch::{self, SourceArchive};
use crate::isolation::Cmd;
use crate::lockfile::{self, LockedKernel};
use crate::removal::remove_folder;
use crate::space::ensure_room;
use crate::step::Step;
use crate::store::{Kind, hex};

/// The kernel `name`, built if the store does not have it.
///
/// # Errors
/// When its source cannot be had, a patch does not fit, a line of its fragments does not take, or
/// make fails.
pub fn build(ctx: &Ctx, name: &str, kernel: &Kernel) -> Result<KernelBinary> {
    find_or_make(ctx, name, kernel).with_context(|| format!("kernel {name}"))
}

/// The kernel `name` out of an archive of the user's own, whatever source is configured.
///
/// # Errors
/// As [`build`].
pub fn build_archive(ctx: &Ctx, name: &str, kernel: &Kernel, path: &Path) -> Result<KernelBinary> {
    let make = || {
        let archive = fetch::local(path)?;
        if !kernel.tarballs.iter().any(|tarball| tarball.sha256 == archive.sha256) {
            let (path, hash) = (path.display(), &archive.sha256);
            ctx.ui.warn(&format!("{path} is none of the pinned archives of {name}: sha256 {hash}"));
        }
        Inputs::read(ctx, name, kernel)?.of_archive(ctx, &archive)
    };
    make().with_context(|| format!("kernel {name}"))
}

/// The kernel `name` out of a tree of the user's own, which stays as it is. Make is called unless all of its files are
/// what they were when it was called last.
///
/// # Errors
/// As [`build`], and when the tree was built in place.
pub fn build_tree(ctx: &Ctx, name: &str, kernel: &Kernel, path: &Path) -> Result<KernelBinary> {
    let make = || Inputs::read(ctx, name, kernel)?.of_tree(ctx, path);
    make().with_context(|| format!("kernel {name}"))
}

/// The kernel `name`, if the store has it.
///
/// # Errors
/// When what it is made from cannot be read.
pub(super) fn stored(ctx: &Ctx, name: &str, kernel: &Kernel) -> Result<Option<KernelBinary>> {
    Inputs::read(ctx, name, kernel)?.stored(ctx)
}

fn find_or_make(ctx: &Ctx, name: &str, kernel: &Kernel) -> Result<KernelBinary> {
    let inputs = Inputs::read(ctx, name, kernel)?;
    if let Some(tree) = kernel.tree_of(&ctx.layout) {
        return inputs.of_tree(ctx, &tree);
    }
    match inputs.stored(ctx)? {
        Some(binary) => Ok(binary),
        None => {
            ensure_buildable(&ctx.layout.kernel_work(name))?;
            inputs.of_archive(ctx, &fetch::source(ctx, name, kernel)?)
        }
    }
}

/// The hashes that the source may have, where they are known without asking anybody. All archives
/// that a kernel lists hold the same source.
pub(super) fn locked_source(ctx: &Ctx, name: &str, kernel: &Kernel) -> Result<Option<Vec<String>>> {
    let Some(debian) = &kernel.debian else { return Ok(Some(listed(kernel))) };
    let lock = lockfile::read(ctx)?;
    let same = |lock: &&LockedKernel| lock.suite == debian.suite && lock.package == debian.package;
    let locked = lock.kernels.get(kernel.source_name(name)).filter(same);
    Ok(locked.map(|locked| vec![locked.sha256.clone()]))
}

fn listed(kernel: &Kernel) -> Vec<String> {
    let mut hashes: Vec<String> =
        kernel.tarballs.iter().map(|tarball| tarball.sha256.clone()).collect();
    hashes.sort();
    hashes
}

/// All that a kernel is made from, but for its source.
struct Inputs<'a> {
    name: &'a str,
    kernel: &'a Kernel,
    series: Series,
    request: ConfigRequest,
    toolchain: Toolchain,
}

/// What a build takes for each object, in bytes: 6.12 takes 138 MiB for 934.
const OBJECT: u64 = 128 << 10;

/// What the objects in a build folder were made from. Objects of another configuration are fine:
/// Kbuild knows what a changed symbol concerns.
#[derive(Serialize)]
struct MadeFrom<'a, O> {
    origin: O,
    toolchain: &'a Toolchain,
}

/// A tree, and by what it is known whether its configuration would be another; nothing if that is not known.
struct SourceTree<'a> {
    tree: &'a KernelTree,
    configuration: Option<u64>,
}

/// Gives a run a kernel of its own: another run may build the tree while guests of this one still run.
fn keep_for_run(results: &Path, own: &Path) -> Result<()> {
    let failed = || format!("cannot make {}", own.display());
    fs::create_dir(own).with_context(failed)?;
    for entry in fs::read_dir(results).with_context(failed)? {
        let from = entry.with_context(failed)?.path();
        let to = own.join(from.file_name().context("a file has a name")?);
        // None of them is written to again.
        fs::hard_link(&from, &to)
            .or_else(|_| fs::copy(&from, &to).map(drop))
            .with_context(failed)?;
    }
    Ok(())
}

impl<'a> Inputs<'a> {
    fn read(ctx: &Ctx, name: &'a str, kernel: &'a Kernel) -> Result<Self> {
        let request = ConfigRequest::read(ctx, kernel)?;
        let series = Series::read(ctx, &kernel.patches)?;
        Ok(Self { name, kernel, series, request, toolchain: Toolchain::find(ctx)? })
    }

    fn recipe(&self, source: Vec<String>) -> KernelRecipe<'_> {
        KernelRecipe::new(self.kernel, source, &self.series, &self.request, &self.toolchain)
    }

    fn stored(&self, ctx: &Ctx) -> Result<Option<KernelBinary>> {
        if self.kernel.tree.is_some() {
            return Ok(None);
        }
        let Some(source) = locked_source(ctx, self.name, self.kernel)? else { return Ok(None) };
        let entry = ctx.store.get(Kind::Kernel, &self.recipe(source))?;
        let compiler = self.toolchain.compiler();
        entry.map(|entry| KernelBinary::of_entry(self.name, entry, compiler)).transpose()
    }

    fn of_archive(&self, ctx: &Ctx, archive: &SourceArchive) -> Result<KernelBinary> {
        let pinned = listed(self.kernel);
        let known = pinned.contains(&archive.sha256);
        let recipe = self.recipe(if known { pinned } else { vec![archive.sha256.clone()] });
        let entry = ctx.store.get_or_build(&ctx.cancel, Kind::Kernel, &recipe, |dir| {
            let work = Work::open(ctx, self.name)?;
            let tree = tree::prepare(ctx, self.name, &work, archive, &self.series)?;
            let step = Step::begin(ctx, &format!("kernel {}", self.name))?;
            let origin = TreeOrigin::new(archive, &self.series);
            let of = SourceTree { tree: &tree, configuration: None };
            self.make(ctx, step, &work, &of, origin, &Results(dir))
        })?;
        KernelBinary::of_entry(self.name, entry, self.toolchain.compiler())
    }

    fn of_tree(&self, ctx: &Ctx, path: &Path) -> Result<KernelBinary> {
        let path = path.canonicalize().with_context(|| format!("no tree at {}", path.display()))?;
        ensure_buildable(&path)?;
        let of_path = hex(&Sha256::digest(path.as_os_str().as_encoded_bytes())[..6]);
        let work = Work::open(ctx, &format!("{}-{of_path}", self.name))?;
        let step = Step::begin(ctx, &format!("kernel {}", self.name))?;
        let scan = Scan::of(&path)?;
        let recipe = self.recipe(vec![serde_json::to_string(&(&path, &scan))?]);
        let (results, stamp) = (work.results(), work.results_stamp());
        let own = ctx.run()?.kernel(self.name);
        if stamp.says(&recipe) {
            keep_for_run(&results, &own)?;
            let binary = KernelBinary::of_folder(self.name, &own, self.toolchain.compiler())?;
            step.done(&format!("{}, unchanged", binary.release));
            return Ok(binary);
        }
        stamp.remove()?;
        remove_folder(&results)?;
        fs::create_dir(&results).with_context(|| format!("cannot make {}", results.display()))?;
        let tree = own_tree::prepare(&step, &work, &path, &self.series)?;
        let origin = (path.to_string_lossy(), tree.dir().to_string_lossy());
        let of = SourceTree { tree: &tree, configuration: Some(scan.configuration) };
        self.make(ctx, step, &work, &of, origin, &Results(&results))?;
        if scan.settled {
            stamp.write(&recipe)?;
        }
        keep_for_run(&results, &own)?;
        KernelBinary::of_folder(self.name, &own, self.toolchain.compiler())
    }

    fn make(
        &self,
        ctx: &Ctx,
        step: Step<'_>,
        work: &Work,
        &SourceTree { tree, configuration }: &SourceTree<'_>,
        origin: impl Serialize,
        results: &Results<'_>,
    ) -> Result<()> {
        let name = self.name;
        let made_from = MadeFrom { origin, toolchain: &self.toolchain };
        let objects = work.begin_build(&made_from)?;
        let build = work.build();
        if objects == Objects::None {
            ensure_room(&build, tree.era().objects as u64 * OBJECT, "the objects of a kernel")?;
        }
        bring_compiler_header(tree, &build, &self.toolchain)?;
        let make = Make::new(&step, tree, &build);
        let from = ConfiguredFrom::new(configuration, self.kernel.start, &self.request);
        let config = configure(&make, tree, work, &from)?;
        net_driver(config.values())?;
        let modules = (config.values().get("MODULES") == "y").then_some("modules");
        let targets: Vec<&str> = ["linux"].into_iter().chain(modules).collect();
        let expected = progress::counted(ctx, name).unwrap_or(tree.era().objects);
        let mut progress = BuildProgress::towards(expected);
        make.build(config.verified(), &targets, &mut progress)?;
        work.end_build(&made_from)?;
        from.remember(work)?;
        if objects == Objects::None {
            progress::keep_count(ctx, name, progress.done());
        }
        if modules.is_some() {
            step.progress()("keeping what modules are built with");
            kit::pack(tree, &build, &results.kit())?;
        }
        let release = self.keep(&step, tree, &build, config.path(), results)?;
        step.done(&format!("{release}, {} objects", progress.done()));
        Ok(())
    }

    /// Puts what guests need where it is kept; says the kernel's release.
    fn keep(
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

/// Writes the header that an old kernel wants of each major version of the compiler, if its tree
/// does not have it.
fn bring_compiler_header(tree: &KernelTree, build: &Path, toolchain: &Toolchain) -> Result<()> {
    let Some(text) = tree.era().compiler_header else { return Ok(()) };
    let header = format!("include/linux/compiler-gcc{}.h", toolchain.compiler_major());
    let path = build.join(&header);
    if tree.dir().join(header).exists() || fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let parent = path.parent().context("the header is in a folder")?;
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(&path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}
