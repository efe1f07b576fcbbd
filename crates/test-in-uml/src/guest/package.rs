//! The folder of a package, as its tests find it in a guest.

use std::sync::Arc;

use uml_protocol::wire;

use super::program::Program;

/// A test program, and where it runs.
#[derive(Debug, Clone, Copy)]
pub struct TestProgram<'a> {
    /// What guests are sent.
    pub program: &'a Program,
    /// Its package's folder; without it, it runs in the case's own.
    pub package: Option<&'a PackageFolder>,
    /// Where it is called at in guests, if that matters to it.
    pub called: Option<&'a str>,
    /// Links that it needs: where, and to what.
    pub links: &'a [(String, String)],
}

/// The files of all packages of a run.
#[derive(Debug)]
pub struct PackageFiles {
    /// The archive that guests are sent.
    pub archive: Program,
    /// The folders of it that guests have, none of them in another.
    pub roots: Vec<String>,
}

/// A package's folder in guests; it is where the host has it.
#[derive(Debug, Clone)]
pub struct PackageFolder {
    /// Its place.
    pub path: String,
    /// The files.
    pub files: Arc<PackageFiles>,
    /// The package's programs that a test binary knows of.
    pub programs: Vec<Arc<Program>>,
    /// What cargo tells tests of it.
    pub environment: Vec<(String, String)>,
}

impl PackageFolder {
    /// All that guests are sent for it.
    pub fn needed(&self) -> impl Iterator<Item = &Program> {
        self.programs.iter().map(AsRef::as_ref).chain([&self.files.archive])
    }

    /// It, as the agent is told.
    pub fn on_wire(&self) -> wire::PackageFolder {
        let Self { path, files, .. } = self;
        let (archive, roots) = (files.archive.hash(), files.roots.clone());
        wire::PackageFolder { path: path.clone(), archive, roots }
    }
}
