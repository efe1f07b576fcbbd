//! A test binary of somebody's, and what it knows of beside it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use memchr::memmem;

use crate::guest::Program;

/// A program that is run, and those that it knows of.
pub struct Binary {
    pub program: Arc<Program>,
    pub others: Vec<Arc<Program>>,
    pub links: Vec<(String, String)>,
}

impl Binary {
    /// Opens a test binary; what it knows of is beside the folder `deps` that it is in, as cargo has it: the programs of its package,
    /// and the folder for files that its tests write (The Cargo Book, "Environment variables").
    pub fn open(path: &Path) -> Result<Self> {
        let mut binary =
            Self { program: Arc::new(Program::open(path)?), others: Vec::new(), links: Vec::new() };
        let profile =
            path.parent().filter(|folder| folder.ends_with("deps")).and_then(Path::parent);
        let Some(profile) = profile else { return Ok(binary) };
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let knows =
            |path: &Path| memmem::find(&bytes, path.as_os_str().as_encoded_bytes()).is_some();
        let mut link = |place: &Path, target: &Path| {
            binary.links.push((place.display().to_string(), target.display().to_string()));
        };
        if let Some(tmp) =
            profile.parent().map(|target| target.join("tmp")).filter(|tmp| knows(tmp))
        {
            link(&tmp, Path::new("/tmp"));
        }
        for file in
            fs::read_dir(profile).with_context(|| format!("cannot read {}", profile.display()))?
        {
            let file = file.context("cannot read a folder")?.path();
            let is_program =
                fs::metadata(&file).is_ok_and(|about| about.is_file() && about.mode() & 0o100 != 0);
            if is_program && knows(&file) {
                let program = Program::open(&file)?;
                link(&file, &uml_protocol::path_of(&program.hash()));
                binary.others.push(Arc::new(program));
            }
        }
        Ok(binary)
    }
}
