//! What a repository needs so that tests of its own run in guests. Nothing that is there is overwritten: a
//! manifest gets members, and all that is refused is refused before anything is written.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

mod manifest;
#[cfg(test)]
mod tests;

/// What is wanted.
#[derive(Debug)]
pub struct Adoption {
    /// The repository's root.
    pub root: PathBuf,
    /// Where its packages take the engine from.
    pub engine: Engine,
    /// The folder of a kernel module, below the root; one that is not there gets a module.
    pub module: Option<PathBuf>,
    /// The workflow that runs the tests.
    pub workflow: Option<Workflow>,
}

/// Where the crates of the engine are.
#[derive(Debug)]
pub enum Engine {
    /// In the folder that has them all.
    Path(PathBuf),
    /// In a git repository.
    Git(String),
}

impl Engine {
    /// The folder that this engine was built from.
    pub fn own() -> Self {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        Engine::Path(beside.unwrap_or(Path::new("/")).into())
    }

    fn dependency(&self, package: &str) -> String {
        match self {
            Engine::Path(crates) => {
                format!("{package} = {{ path = {:?} }}", crates.join(package).display().to_string())
            }
            Engine::Git(url) => format!("{package} = {{ git = {url:?} }}"),
        }
    }
}

/// Whose workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Workflow {
    /// `.github/workflows/guests.yml`
    Github,
    /// `.gitlab-ci.yml`
    Gitlab,
}

impl Workflow {
    fn file(self) -> (&'static str, &'static str) {
        match self {
            Workflow::Github => {
                (".github/workflows/guests.yml", include_str!("init/templates/github.yml"))
            }
            Workflow::Gitlab => (".gitlab-ci.yml", include_str!("init/templates/gitlab.yml")),
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// A file that was not there.
    New(PathBuf),
    /// A manifest that was there.
    Changed(PathBuf),
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Written::New(path) => write!(f, "new {}", path.display()),
            Written::Changed(path) => write!(f, "changed {}", path.display()),
        }
    }
}

/// The package of the command line, and that of the tests.
const XTASK: &str = "xtask";
const TESTS: &str = "guest-tests";

/// The versions that the engine is tested with: they are in the store of whoever has run anything before.
const LOCK: &str = include_str!("../defaults/uml.lock");

/// Puts what is wanted into the repository.
///
/// # Errors
/// When a file is in the way, its manifest is none, or nothing can be written; what is in the way is named.
pub fn init(wanted: &Adoption) -> Result<Vec<Written>> {
    let root = &wanted.root;
    if let Some(outer) = outer_workspace(root) {
        bail!(
            "{} is below the workspace of {}: put it into that one, or elsewhere",
            root.display(),
            outer.display()
        );
    }
    let module = wanted.module.as_deref().map(|folder| OwnModule::of(root, folder)).transpose()?;
    let files = files(wanted, module.as_ref());
    let in_the_way: Vec<String> = files
        .iter()
        .filter(|(path, _)| root.join(path).symlink_metadata().is_ok())
        .map(|(path, _)| path.display().to_string())
        .collect();
    ensure!(
        in_the_way.is_empty(),
        "in {} there is already {}: nothing was written; move it away, or take it for the work of an \
         earlier `init`",
        root.display(),
        in_the_way.join(", ")
    );
    let path = root.join("Cargo.toml");
    let before = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let folder = module.as_ref().map(|module| module.folder.as_path());
    let manifest = manifest::with_members(before.as_deref(), &[TESTS, XTASK], folder)
        .with_context(|| format!("in {}", path.display()))?;
    let mut written = Vec::new();
    for (path, text) in files {
        write_new(&root.join(&path), &text)?;
        written.push(Written::New(path));
    }
    match before {
        None => {
            write_new(&path, &manifest)?;
            written.push(Written::New("Cargo.toml".into()));
        }
        Some(before) if before != manifest => {
            replace(&path, &manifest)?;
            written.push(Written::Changed("Cargo.toml".into()));
        }
        Some(_) => {}
    }
    Ok(written)
}

/// A workspace above a folder that has no manifest of its own: cargo would take the folder for a part of it.
fn outer_workspace(root: &Path) -> Option<PathBuf> {
    let above = root.ancestors().skip(1).map(|folder| folder.join("Cargo.toml"));
    let mut workspaces = above
        .filter(|path| fs::read_to_string(path).is_ok_and(|text| manifest::is_workspace(&text)));
    workspaces.next()
}

fn files(wanted: &Adoption, module: Option<&OwnModule>) -> Vec<(PathBuf, String)> {
    let manifest = |name: &str, dependency: &str| {
        format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\n\n[dependencies]\n{}\n",
            wanted.engine.dependency(dependency)
        )
    };
    let main = "fn main() -> std::process::ExitCode {\n    test_in_uml::main()\n}\n";
    let alias = "[alias]\nxtask = \"run --quiet --package xtask --\"\n";
    let test = match module.and_then(|module| module.name.as_deref()) {
        Some(name) => include_str!("init/templates/module.rs").replace("{{module}}", name),
        None => include_str!("init/templates/first.rs").to_owned(),
    };
    let mut files: Vec<(PathBuf, String)> = vec![
        (".cargo/config.toml".into(), alias.into()),
        (format!("{XTASK}/Cargo.toml").into(), manifest(XTASK, "test-in-uml")),
        (format!("{XTASK}/src/main.rs").into(), main.into()),
        (format!("{TESTS}/Cargo.toml").into(), manifest(TESTS, "uml-test")),
        // A package has a library or a program.
        (format!("{TESTS}/src/lib.rs").into(), String::new()),
        (format!("{TESTS}/tests/first.rs").into(), test),
    ];
    if let Some(module) = module {
        files.extend(module.files());
    }
    if let Some(workflow) = wanted.workflow {
        let (path, text) = workflow.file();
        files.push((path.into(), text.into()));
    }
    for (path, text) in [(".gitignore", "/target\n"), ("uml.lock", LOCK)] {
        if !wanted.root.join(path).exists() {
            files.push((path.into(), text.into()));
        }
    }
    files
}

/// A kernel module of the repository.
struct OwnModule {
    /// Its folder, below the root.
    folder: PathBuf,
    /// Its name, if its Makefile says one.
    name: Option<String>,
    is_new: bool,
}

impl OwnModule {
    fn of(root: &Path, folder: &Path) -> Result<Self> {
        let is_below = folder.is_relative()
            && folder.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        ensure!(is_below, "--module {}: name a folder below the repository", folder.display());
        let place = root.join(folder);
        if !place.exists() {
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            ensure!(
                is_name,
                "--module {}: a new module is called by letters, digits and `_`",
                folder.display()
            );
            return Ok(Self { folder: folder.into(), name: Some(name.into()), is_new: true });
        }
        let makefiles = ["Kbuild", "Makefile"].map(|name| place.join(name));
        let text = makefiles.iter().find_map(|path| fs::read_to_string(path).ok());
        let text = text.with_context(|| {
            format!("--module {}: there is neither a Kbuild nor a Makefile", folder.display())
        })?;
        Ok(Self { folder: folder.into(), name: name_in(&text), is_new: false })
    }

    fn files(&self) -> Vec<(PathBuf, String)> {
        let Some(name) = self.name.as_ref().filter(|_| self.is_new) else { return Vec::new() };
        let source = include_str!("init/templates/module.c").replace("{{module}}", name);
        vec![
            (self.folder.join("Kbuild"), format!("obj-m := {name}.o\n")),
            (self.folder.join(format!("{name}.c")), source),
        ]
    }
}

/// The first module that a Makefile names.
fn name_in(makefile: &str) -> Option<String> {
    makefile.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix("obj-m")?;
        let objects = rest.trim_start().trim_start_matches([':', '+']).strip_prefix('=')?;
        let name = objects.split_whitespace().next()?.strip_suffix(".o")?;
        (!name.contains('$')).then(|| name.to_owned())
    })
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::File::create_new(path)?.write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Half a manifest is never there.
fn replace(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a file is in a folder")?;
    let write = || -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(fs::metadata(path)?.permissions())?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
