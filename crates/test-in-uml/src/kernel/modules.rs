//! Out-of-tree modules: folders of the user's, built for each kernel under test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use super::binary::KernelBinary;
use super::kit::Kit;
use super::make::Make;
use super::recipe::Toolchain;
use super::work::Work;
use crate::ctx::Ctx;
use crate::source_folder::SourceFolder;
use crate::step::Step;
use crate::store::{Entry, Kind, hex};

/// A built module.
#[derive(Debug)]
pub struct Module {
    /// What the kernel calls it.
    pub name: String,
    /// The `.ko` file.
    pub path: PathBuf,
    /// Nobody prunes it while this lives.
    _entry: std::sync::Arc<Entry>,
}

/// Raised whenever what is done with a recipe changes.
const VERSION: u32 = 1;

/// What a module is made from.
#[derive(Debug, Serialize)]
struct ModuleRecipe<'a> {
    version: u32,
    kit: &'a str,
    toolchain: &'a Toolchain,
    source: String,
}

/// Builds the modules of `folders` for a kernel, unless the store has them.
///
/// # Errors
/// When a folder is no module's, make fails, or two modules have the same name.
pub fn build(ctx: &Ctx, kernel: &KernelBinary, folders: &[PathBuf]) -> Result<Vec<Module>> {
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    if folders.is_empty() {
        return Ok(Vec::new());
    }
    let toolchain = Toolchain::find(ctx)?;
    for folder in folders {
        let built = build_folder(ctx, kernel, folder, &toolchain)
            .with_context(|| format!("module {} for kernel {}", folder.display(), kernel.name))?;
        for module in built {
            if let Some(other) = modules.insert(module.name.clone(), module) {
                bail!(
                    "two modules are called {}: {} is not the only one",
                    other.name,
                    folder.display()
                );
            }
        }
    }
    Ok(modules.into_values().collect())
}

fn build_folder(
    ctx: &Ctx,
    kernel: &KernelBinary,
    folder: &Path,
    toolchain: &Toolchain,
) -> Result<Vec<Module>> {
    ensure!(folder.is_dir(), "there is no such folder");
    let has_makefile = ["Kbuild", "Makefile"].iter().any(|name| folder.join(name).is_file());
    ensure!(has_makefile, "it has neither a Kbuild nor a Makefile file");
    let (kit, kit_hash) = kernel.kit.as_ref().with_context(|| {
        format!("kernel {} loads no modules: its CONFIG_MODULES is not y", kernel.name)
    })?;
    let source = SourceFolder(folder).hash()?;
    let recipe = ModuleRecipe { version: VERSION, kit: kit_hash, toolchain, source };
    let entry = ctx.store.get_or_build(&ctx.cancel, Kind::Module, &recipe, |dir| {
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
        let step = Step::begin(ctx, &format!("module {name} for {}", kernel.name))?;
        let with = MadeWith { version: VERSION, kit: kit_hash, toolchain };
        let names = make(ctx, &step, (&kernel.name, kit), &with, (folder, dir))?;
        step.done(&names.join(", "));
        Ok(())
    })?;
    let entry = std::sync::Arc::new(entry);
    let mut modules = Vec::new();
    for path in objects(entry.path())? {
        let name = module_name(&path)?;
        modules.push(Module { name, path, _entry: std::sync::Arc::clone(&entry) });
    }
    Ok(modules)
}

/// What the objects of a module are made with; all else make knows of.
#[derive(Debug, Serialize)]
struct MadeWith<'a> {
    version: u32,
    kit: &'a str,
    toolchain: &'a Toolchain,
}

/// Builds a copy of the folder, which stays as it is; says the names of the modules. What an earlier build left of the
/// copy is built upon.
fn make(
    ctx: &Ctx,
    step: &Step<'_>,
    (kernel, kit): (&str, &Path),
    with: &MadeWith<'_>,
    (folder, dest): (&Path, &Path),
) -> Result<Vec<String>> {
    let place = ctx.layout.module_work(kernel);
    let kit_work = Work::at(ctx, place.join("kit"), &format!("modules for kernel {kernel}"))?;
    let kit = Kit::ready(kit_work, kit, with.kit)?;
    let own = folder.as_os_str().as_encoded_bytes();
    let own = hex(&Sha256::digest(own))[..16].to_owned();
    let work = Work::at(ctx, place.join(own), &format!("the module {}", folder.display()))?;
    work.begin_build(with)?;
    let (tree, build, own) = (kit.tree()?, kit.build(), work.build());
    SourceFolder(folder).mirror_to(&own, &work.copied())?;
    // One that is no longer asked for is none.
    for path in objects(&own)? {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Make::new(step, &tree, &build).of_copy(&own, folder).modules(&kit, &own)?;
    work.end_build(with)?;
    let mut names = Vec::new();
    for path in objects(&own)? {
        let file = path.file_name().context("a module has a name")?;
        fs::copy(&path, dest.join(file))
            .with_context(|| format!("cannot keep {}", path.display()))?;
        names.push(module_name(&path)?);
    }
    ensure!(
        !names.is_empty(),
        "make built no module: its Makefile names them as `obj-m := NAME.o`"
    );
    Ok(names)
}

/// The `.ko` files of a folder, sorted.
fn objects(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in WalkDir::new(dir).sort_by_file_name() {
        let path = entry.with_context(|| format!("cannot walk {}", dir.display()))?.into_path();
        if path.extension().is_some_and(|extension| extension == "ko") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The kernel takes a dash in a file's name for an underscore.
fn module_name(path: &Path) -> Result<String> {
    let stem = path.file_stem().context("a module has a name")?;
    Ok(stem.to_string_lossy().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_an_underscore_to_the_kernel() {
        assert_eq!(module_name(Path::new("/x/my-driver.ko")).unwrap(), "my_driver");
    }
}
