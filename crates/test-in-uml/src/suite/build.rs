//! The programs that guests run: the agent, and the test binaries with their names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cargo_metadata::{Artifact, Package, Target, TargetKind};
use walkdir::WalkDir;

use super::cargo::{self, Build};
use super::selection::{Selected, Selection};
use crate::ctx::Ctx;

/// What was built of tests.
#[derive(Debug)]
pub struct Built {
    /// The test binaries, sorted by their names.
    pub binaries: Vec<TestBinary>,
    /// The folders of all packages of the workspace.
    pub members: Vec<PathBuf>,
}

/// A test binary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestBinary {
    /// The name of its target, for example `ext4`; as nextest has it, with the name of its package, where another
    /// target has the same.
    pub name: String,
    /// The package that it is of.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// The package's folder.
    pub folder: PathBuf,
    /// The package's programs, which only integration tests are told of.
    pub programs: Vec<PathBuf>,
    /// The executable.
    pub path: PathBuf,
    /// What is known of its harness.
    pub harness: Harness,
    /// True if it is wrong that it has no case: a library need not have any.
    pub is_for_tests: bool,
}

/// Whether a target has libtest's `main`, as its manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harness {
    /// It has.
    Libtest,
    /// It has its own (`harness = false`).
    Own,
}

/// Builds the agent.
///
/// # Errors
/// When it does not compile.
pub fn agent(ctx: &Ctx) -> Result<PathBuf> {
    let built = cargo::build(ctx, &Build::Agent)?;
    let agent = built
        .into_iter()
        .find(|artifact| artifact.target.name == "uml-agent" && artifact.executable.is_some());
    let path = agent.and_then(|artifact| artifact.executable);
    Ok(path.context("cargo built no agent")?.into())
}

/// Builds the selected test binaries, and says what of the packages is not run here.
///
/// # Errors
/// [`super::TestBuildFailed`] when they do not compile; another when there is no such package.
pub fn test_binaries(ctx: &Ctx, selection: &Selection) -> Result<Built> {
    let selected = selection.of(ctx)?;
    let root = selected.metadata.workspace_root.as_std_path();
    let is_foreign = selected.is_foreign();
    let built = cargo::build(ctx, &Build::Tests { root, is_foreign, args: selected.args() })?;
    let names = TargetNames::of(&selected);
    let (mut binaries, mut manifests) = (Vec::new(), HashMap::new());
    for artifact in
        built.iter().filter(|artifact| artifact.profile.test && !is_for_host(&artifact.target))
    {
        let Some(path) = &artifact.executable else { continue };
        let package = package_of(&selected, artifact)?;
        let manifest = match manifests.entry(&package.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(manifest(package)?),
        };
        binaries.push(TestBinary {
            name: names.of_target(package, &artifact.target),
            package: package.name.to_string(),
            version: package.version.to_string(),
            folder: folder(package),
            programs: match artifact.target.is_test() {
                true => programs_of(package, &built),
                false => Vec::new(),
            },
            path: path.into(),
            harness: harness(manifest, &kind(&artifact.target), &artifact.target.name),
            is_for_tests: artifact.target.is_test(),
        });
    }
    binaries.sort();
    let left_out = left_out(&selected);
    if !left_out.is_empty() {
        ctx.ui.say(&format!("{:>12} {}", "not run", left_out.join("; ")));
    }
    Ok(Built { binaries, members: selected.metadata.packages.iter().map(folder).collect() })
}

pub(super) fn folder(package: &Package) -> PathBuf {
    package.manifest_path.as_std_path().parent().unwrap_or(Path::new("/")).into()
}

fn package_of<'a>(selected: &'a Selected<'_>, artifact: &Artifact) -> Result<&'a Package> {
    let mut packages = selected.metadata.packages.iter();
    let package = packages.find(|package| package.id == artifact.package_id);
    package.with_context(|| {
        format!("cargo built tests of `{}`, which is no member", artifact.package_id.repr)
    })
}

/// The programs of a package that cargo built.
fn programs_of(package: &Package, built: &[Artifact]) -> Vec<PathBuf> {
    let programs = built.iter().filter(|artifact| {
        artifact.package_id == package.id && artifact.target.is_bin() && !artifact.profile.test
    });
    programs.filter_map(|artifact| Some(artifact.executable.clone()?.into())).collect()
}

/// Returns true if its tests are linked with the compiler's own libraries: there are none for guests.
fn is_for_host(target: &Target) -> bool {
    target.is_proc_macro()
}

/// The names of test binaries: each of one.
struct TargetNames(HashMap<(String, TargetKind, String), String>);

impl TargetNames {
    /// Two targets have one name where it is the same whichever of the packages are built today.
    fn of(selected: &Selected<'_>) -> Self {
        let mut targets = Vec::new();
        for package in selected.named_packages() {
            let tests = package.targets.iter().filter(|target| target.test || target.is_test());
            targets.extend(
                tests.map(|target| (package.name.as_str(), kind(target), target.name.as_str())),
            );
        }
        let names = named(&targets);
        let owned = targets
            .iter()
            .map(|(package, kind, name)| ((*package).into(), kind.clone(), (*name).into()));
        Self(owned.zip(names).collect())
    }

    fn of_target(&self, package: &Package, target: &Target) -> String {
        let (package, kind) = (package.name.as_str(), kind(target));
        let key = (package.to_owned(), kind.clone(), target.name.clone());
        self.0.get(&key).cloned().unwrap_or_else(|| full_name(package, &kind, &target.name))
    }
}

/// A target's first kind; those of libraries are one.
fn kind(target: &Target) -> TargetKind {
    match target.kind.first() {
        Some(
            kind @ (TargetKind::Bin | TargetKind::Test | TargetKind::Example | TargetKind::Bench),
        ) => kind.clone(),
        _ => TargetKind::Lib,
    }
}

/// A name for each of these targets: its own, or the full one where that is another's too.
fn named(targets: &[(&str, TargetKind, &str)]) -> Vec<String> {
    let mut names: Vec<String> = targets.iter().map(|(.., name)| (*name).to_owned()).collect();
    loop {
        let mut count: HashMap<&str, usize> = HashMap::new();
        for name in &names {
            *count.entry(name).or_default() += 1;
        }
        let full = targets.iter().map(|(package, kind, name)| full_name(package, kind, name));
        let new: Vec<String> = names
            .iter()
            .zip(full)
            .map(|(name, full)| if count[name.as_str()] > 1 { full } else { name.clone() })
            .collect();
        if new == names {
            return names;
        }
        names = new;
    }
}

/// As nextest calls it.
fn full_name(package: &str, kind: &TargetKind, name: &str) -> String {
    match kind {
        TargetKind::Test => format!("{package}::{name}"),
        TargetKind::Bin => format!("{package}::bin/{name}"),
        TargetKind::Example => format!("{package}::example/{name}"),
        TargetKind::Bench => format!("{package}::bench/{name}"),
        _ => package.to_owned(),
    }
}

fn manifest(package: &Package) -> Result<toml::Table> {
    let path = package.manifest_path.as_std_path();
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
}

/// Whether the manifest takes libtest's harness from the target; cargo does not tell.
fn harness(manifest: &toml::Table, kind: &TargetKind, name: &str) -> Harness {
    let is_own =
        |target: &toml::Value| target.get("harness").and_then(toml::Value::as_bool) == Some(false);
    let is_named =
        |target: &&toml::Value| target.get("name").and_then(toml::Value::as_str) == Some(name);
    let table = match kind {
        TargetKind::Lib => manifest.get("lib"),
        kind => {
            let list = manifest.get(&kind.to_string()).and_then(toml::Value::as_array);
            list.and_then(|targets| targets.iter().find(is_named))
        }
    };
    if table.is_some_and(is_own) { Harness::Own } else { Harness::Libtest }
}

/// What `cargo test` or `cargo bench` would run of the packages, and no guest does.
fn left_out(selected: &Selected<'_>) -> Vec<String> {
    let mut left_out = Vec::new();
    for package in selected.packages() {
        let name = &package.name;
        for target in &package.targets {
            if is_for_host(target) && target.test {
                left_out.push(format!("tests of the procedural macros of `{name}`"));
            } else if target.doctest && has_doc_tests(target.src_path.as_std_path()) {
                left_out.push(format!("doc tests of `{name}`"));
            } else if target.is_bench() && !target.test {
                left_out.push(format!("bench `{}` of `{name}`", target.name));
            }
        }
    }
    left_out
}

/// Returns true if a file beside the root of a library has a block of code in its documentation.
fn has_doc_tests(root: &Path) -> bool {
    let Some(folder) = root.parent() else { return false };
    let files = WalkDir::new(folder).into_iter().filter_map(Result::ok);
    let mut sources = files.filter(|file| file.path().extension().is_some_and(|end| end == "rs"));
    let is_block = |line: &str| {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        doc.is_some_and(|doc| doc.trim_start().starts_with("```"))
    };
    sources.any(|file| fs::read_to_string(file.path()).is_ok_and(|text| text.lines().any(is_block)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_called_by_its_name_unless_another_is() {
        use TargetKind::{Bin, Example, Lib, Test};
        let names = named(&[
            ("a-lib", Lib, "a_lib"),
            ("a-lib", Test, "api"),
            ("b", Test, "api"),
            ("b", Lib, "b"),
            ("b", Bin, "b"),
            ("b", Example, "shows"),
            // What is `b` now is the library of that package.
            ("c", Test, "b"),
        ]);
        assert_eq!(names, ["a_lib", "a-lib::api", "b::api", "b", "b::bin/b", "shows", "c::b"]);
        // The full name of one library is the short one of another's test.
        let names = named(&[("x", Lib, "y"), ("x", Test, "y"), ("z", Test, "x")]);
        assert_eq!(names, ["x", "x::y", "z::x"]);
    }

    #[test]
    fn a_harness_is_looked_up_in_the_manifest() {
        let manifest: toml::Table = toml::from_str(
            "[lib]\nharness = false\n[[test]]\nname = \"own\"\nharness = false\n[[test]]\nname = \"plain\"\n\
             [[bin]]\nname = \"own\"\n",
        )
        .unwrap();
        let of = |kind, name| harness(&manifest, &kind, name);
        assert_eq!(of(TargetKind::Lib, "x"), Harness::Own);
        assert_eq!(of(TargetKind::Test, "own"), Harness::Own);
        assert_eq!(of(TargetKind::Test, "plain"), Harness::Libtest);
        assert_eq!(of(TargetKind::Test, "found_by_cargo"), Harness::Libtest);
        assert_eq!(of(TargetKind::Bin, "own"), Harness::Libtest);
        assert_eq!(harness(&toml::Table::new(), &TargetKind::Lib, "x"), Harness::Libtest);
    }
}
