//! What guests have of the packages whose tests they run: the files beside the manifest, and the programs, each
//! where the host has it. So tests find them as under `cargo test`, whose current folder is the package's too
//! (The Cargo Book, cargo-test, "Working directory of tests").

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use cargo_metadata::Metadata;
use memchr::memmem;

use self::contents::Contents;
use super::build::{self, Built, TestBinary};
use super::programs::{Other, ProgramSuite, SuiteProgram};
use super::rustflags::TARGET;
use crate::ctx::Ctx;
use crate::guest::{PackageFiles, PackageFolder, Program};

mod contents;

/// Guests are sent packages of up to this part of their memory, which they hold twice while they unpack.
const PART_OF_MEMORY: u64 = 8;

/// The variable that says where a program is, less the program's name.
const PROGRAM_VARIABLE: &str = "CARGO_BIN_EXE_";

/// What guests have of the packages of some test binaries.
#[derive(Default)]
pub(super) struct Packages {
    files: Option<Arc<PackageFiles>>,
    programs: BTreeMap<PathBuf, Arc<Program>>,
    /// The programs that each test binary knows of.
    known: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// True if the files are also those of packages.
    with_packages: bool,
    /// The programs of each suite that are no cases, by its place.
    helpers: BTreeMap<String, Vec<Arc<Program>>>,
}

impl Packages {
    /// Reads the files of the packages, and says which guests do not have.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(ctx: &Ctx, built: &Built, suites: &[ProgramSuite]) -> Result<Self> {
        let mut packages = Self::default();
        let mut contents = Contents::default();
        for suite in suites {
            packages.add_suite(suite, &mut contents)?;
        }
        let limit = ctx.config.memory.bytes() / PART_OF_MEMORY;
        if let Some(too_much) = contents.over(limit) {
            bail!("{too_much}: give them more");
        }
        let of_suites = contents.clone();
        if !packages.add_packages(ctx, built, limit, &mut contents)? {
            contents = of_suites;
        }
        packages.pack(ctx, &mut contents)?;
        Ok(packages)
    }

    fn pack(&mut self, ctx: &Ctx, contents: &mut Contents) -> Result<()> {
        if contents.is_empty() {
            return Ok(());
        }
        let archive = Program::of_bytes(c"packages", &contents.pack()?)?;
        for path in contents.unreadable() {
            ctx.ui.warn(&format!("{} cannot be read: guests do not have it", path.display()));
        }
        self.files = Some(Arc::new(PackageFiles { archive, roots: contents.roots() }));
        Ok(())
    }

    /// Reads the files of all packages of a workspace, as [`Packages::of`] does.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of_workspace(ctx: &Ctx, workspace: &Metadata) -> Result<Self> {
        let members = workspace.workspace_packages();
        let members: Vec<PathBuf> = members.into_iter().map(build::folder).collect();
        let (mut packages, mut contents) = (Self::default(), Contents::default());
        let limit = ctx.config.memory.bytes() / PART_OF_MEMORY;
        if add_folders(ctx, &members, &members, limit, &mut contents) {
            packages.with_packages = true;
            packages.pack(ctx, &mut contents)?;
        }
        Ok(packages)
    }

    /// What guests have at this folder of the host, if that is one of a package.
    pub fn folder_at(&self, path: &str) -> Option<PackageFolder> {
        let files = Arc::clone(self.files.as_ref().filter(|_| self.with_packages)?);
        let is_in = |root: &String| Path::new(path).starts_with(root);
        files.roots.iter().any(is_in).then(|| PackageFolder {
            path: path.into(),
            files: Arc::clone(&files),
            programs: Vec::new(),
            environment: Vec::new(),
        })
    }

    /// Adds a suite: files, links, and programs by links to where guests keep them.
    fn add_suite(&mut self, suite: &ProgramSuite, contents: &mut Contents) -> Result<()> {
        let place = PathBuf::from(suite.place());
        for (path, other) in suite.archive.others()? {
            match other {
                Other::File(bytes) => contents.put(&place.join(path), bytes),
                Other::Link(to) => contents.link(&place.join(path), &to),
                Other::Folder => contents.folder(&place.join(path)),
            }
        }
        let mut helpers = Vec::new();
        for SuiteProgram { path, program, cases } in suite.programs() {
            contents.link(&place.join(path), &uml_protocol::path_of(&program.hash()));
            if cases.is_empty() {
                helpers.push(Arc::new(program));
            }
        }
        self.helpers.insert(suite.place(), helpers);
        Ok(())
    }

    /// The folder of a suite that a program of it runs in.
    pub fn folder_of_suite(&self, suite: &ProgramSuite, path: &str) -> Option<PackageFolder> {
        let files = Arc::clone(self.files.as_ref()?);
        let programs = self.helpers.get(&suite.place()).cloned().unwrap_or_default();
        Some(PackageFolder { path: path.into(), files, programs, environment: suite.environment() })
    }

    /// Adds the files of the packages; false if guests do not have them.
    fn add_packages(
        &mut self,
        ctx: &Ctx,
        built: &Built,
        limit: u64,
        contents: &mut Contents,
    ) -> Result<bool> {
        let folders: BTreeSet<_> = built.binaries.iter().map(|binary| &binary.folder).collect();
        if !add_folders(ctx, folders, &built.members, limit, contents) {
            return Ok(false);
        }
        // As cargo has it with `--target`.
        let tmpdir = ctx.layout.guest_target().join(TARGET).join("tmp");
        for binary in &built.binaries {
            self.add_targets_of(binary, &tmpdir, contents)?;
        }
        self.with_packages = true;
        Ok(true)
    }

    /// Adds what a test binary knows of beside its package's folder: programs, and the folder for files that its
    /// tests write.
    fn add_targets_of(
        &mut self,
        binary: &TestBinary,
        tmpdir: &Path,
        contents: &mut Contents,
    ) -> Result<()> {
        if !binary.is_for_tests {
            return Ok(());
        }
        let bytes = std::fs::read(&binary.path)
            .with_context(|| format!("cannot read {}", binary.path.display()))?;
        let has = |text: &[u8]| memmem::find(&bytes, text).is_some();
        if has(tmpdir.as_os_str().as_encoded_bytes()) {
            contents.link(tmpdir, Path::new("/tmp"));
        }
        let asks = !binary.programs.is_empty() && has(PROGRAM_VARIABLE.as_bytes());
        let known =
            binary.programs.iter().filter(|path| asks || has(path.as_os_str().as_encoded_bytes()));
        let known: Vec<PathBuf> = known.cloned().collect();
        for path in &known {
            if !self.programs.contains_key(path) {
                let program = Program::open(path)?;
                contents.link(path, &uml_protocol::path_of(&program.hash()));
                self.programs.insert(path.clone(), Arc::new(program));
            }
        }
        self.known.insert(binary.path.clone(), known);
        Ok(())
    }

    /// Where a test binary runs, if guests have its package's files.
    pub fn folder_of(&self, binary: &TestBinary) -> Option<PackageFolder> {
        let files = Arc::clone(self.files.as_ref().filter(|_| self.with_packages)?);
        let path = binary.folder.to_str()?.to_owned();
        let known = self.known.get(&binary.path).map_or(&[][..], Vec::as_slice);
        let mut environment = vec![
            ("CARGO_MANIFEST_DIR".into(), path.clone()),
            ("CARGO_PKG_NAME".into(), binary.package.clone()),
            ("CARGO_PKG_VERSION".into(), binary.version.clone()),
        ];
        environment.extend(known.iter().filter_map(|program| {
            let name = program.file_name()?.to_str()?;
            Some((format!("{PROGRAM_VARIABLE}{name}"), program.to_str()?.to_owned()))
        }));
        let programs = known.iter().filter_map(|program| self.programs.get(program).cloned());
        Some(PackageFolder { path, files, programs: programs.collect(), environment })
    }
}

/// Adds the files of these folders; false, and why, if guests do not have them.
fn add_folders<'f>(
    ctx: &Ctx,
    folders: impl IntoIterator<Item = &'f PathBuf>,
    members: &[PathBuf],
    limit: u64,
    contents: &mut Contents,
) -> bool {
    for folder in folders {
        if is_of_system(folder) {
            let folder = folder.display();
            ctx.ui.warn(&format!("guests have a folder {folder} of their own, without your files"));
            return false;
        }
        contents.find(folder, members);
    }
    if let Some(too_much) = contents.over(limit) {
        ctx.ui.warn(&format!(
            "{too_much}: guests do not have the packages' files, and cases run in an empty folder"
        ));
        return false;
    }
    true
}

/// Returns true if guests have, and need, such a folder of their own.
fn is_of_system(folder: &Path) -> bool {
    let parts: Vec<_> = folder.iter().skip(1).filter_map(|part| part.to_str()).collect();
    match parts[..] {
        [] => true,
        ["dev" | "proc" | "sys", ..] => true,
        [top] | ["usr" | "var" | "run", top] => {
            !["home", "mnt", "opt", "root", "src", "srv"].contains(&top)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_does_not_take_the_place_of_a_folder_that_guests_need() {
        for needed in ["/", "/usr", "/etc", "/usr/lib", "/var/tmp", "/proc/self/cwd", "/dev/shm/x"]
        {
            assert!(is_of_system(Path::new(needed)), "{needed}");
        }
        for free in ["/root", "/usr/src", "/usr/src/driver", "/tmp/driver", "/home/u/driver"] {
            assert!(!is_of_system(Path::new(free)), "{free}");
        }
    }
}
