//! Out-of-tree modules: folders of the user's, built for each kernel under test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use walkdir::{DirEntry, WalkDir};

use super::binary::KernelBinary;
use super::kit::Kit;
use super::make::Make;
use super::recipe::Toolchain;
use super::work::ensure_buildable;
use crate::ctx::Ctx;
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
    let source = source_hash(folder)?;
    let recipe = ModuleRecipe { version: VERSION, kit: kit_hash, toolchain, source };
    let entry = ctx.store.get_or_build(&ctx.cancel, Kind::Module, &recipe, |dir| {
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
        let step = Step::begin(ctx, &format!("module {name} for {}", kernel.name))?;
        let names = make(ctx, &step, kit, folder, dir)?;
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

/// Builds a copy of the folder, which stays as it is; says the names of the modules.
fn make(ctx: &Ctx, step: &Step<'_>, kit: &Path, folder: &Path, dest: &Path) -> Result<Vec<String>> {
    let parent = ctx.run()?.path();
    ensure_buildable(parent)?;
    let kit = Kit::unpack(kit, parent)?;
    let (tree, build, own) = (kit.tree()?, kit.build(), kit.module());
    for entry in source_files(folder) {
        let entry = entry.with_context(|| format!("cannot walk {}", folder.display()))?;
        let place = own.join(entry.path().strip_prefix(folder)?);
        let copied = match entry.file_type().is_dir() {
            true => fs::create_dir_all(&place),
            // A link may lead out of the folder: what it leads to is what is built.
            false => fs::copy(entry.path(), &place).map(drop),
        };
        copied.with_context(|| format!("cannot copy {}", entry.path().display()))?;
    }
    Make::new(step, &tree, &build).naming(&own).modules(&kit, &own)?;
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

/// The files of a module's folder, without what a build in place left there.
fn source_files(folder: &Path) -> impl Iterator<Item = walkdir::Result<DirEntry>> {
    let left_out = |entry: &DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let built = [".o", ".ko", ".mod", ".mod.c", ".cmd", ".order", ".symvers"];
        entry.depth() > 0 && (name.starts_with('.') || built.iter().any(|end| name.ends_with(end)))
    };
    WalkDir::new(folder)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(move |entry| !left_out(entry))
}

/// The hash of all names and contents.
fn source_hash(folder: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    for entry in source_files(folder) {
        let entry = entry.with_context(|| format!("cannot walk {}", folder.display()))?;
        if entry.file_type().is_dir() {
            continue;
        }
        let path = entry.path();
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(folder)?.as_os_str().as_encoded_bytes();
        for part in [name, &text] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(hex(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_its_sources_alone() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("Makefile", "obj-m := a.o");
        write("a.c", "int a;");
        let first = source_hash(dir.path()).unwrap();
        for built in
            ["a.o", "a.ko", "a.mod", "a.mod.c", ".a.o.cmd", "modules.order", "Module.symvers"]
        {
            write(built, "x");
        }
        assert_eq!(source_hash(dir.path()).unwrap(), first);
        write("a.c", "int b;");
        assert_ne!(source_hash(dir.path()).unwrap(), first);
    }

    #[test]
    fn a_dash_is_an_underscore_to_the_kernel() {
        assert_eq!(module_name(Path::new("/x/my-driver.ko")).unwrap(), "my_driver");
    }
}
