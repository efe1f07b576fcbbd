//! Programs that were given on the command line, each a case.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::{Adapter, Archive, Cases, Listed, Rules, Wanted};
use crate::config::{PROGRAM, ResultBy};
use crate::ctx::Ctx;
use crate::isolation::Cmd;
use crate::kernel::compiler_name;
use crate::step::Step;
use crate::store::hex;

/// Programs, or what they are built from.
#[derive(Debug, Clone)]
pub struct GivenPrograms {
    /// Files, and folders of them.
    pub paths: Vec<PathBuf>,
    /// What the compiler is given behind a source.
    pub flags: Vec<String>,
    /// The time for which each is to run, if it need not end by itself.
    pub run_for: Option<Duration>,
}

/// A program that was given.
#[derive(Debug)]
struct GivenProgram {
    path: PathBuf,
    /// The name of its file, by which the case is called.
    name: String,
    /// Nothing if it is a program.
    compiler: Option<Compiler>,
}

/// What makes a program of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compiler {
    C,
    Cxx,
}

impl Compiler {
    fn name(self) -> String {
        match self {
            Compiler::C => compiler_name(),
            Compiler::Cxx => std::env::var("CXX").unwrap_or_else(|_| "g++".into()),
        }
    }
}

/// The suite that they are.
#[derive(Debug)]
pub struct GivenSuite<'a> {
    programs: Vec<GivenProgram>,
    flags: &'a [String],
    run_for: Option<Duration>,
}

impl<'a> GivenSuite<'a> {
    /// That of these programs.
    ///
    /// # Errors
    /// When a file cannot be read or is no program, or two would have one name.
    pub fn of(GivenPrograms { paths, flags, run_for }: &'a GivenPrograms) -> Result<Self> {
        let mut programs = Vec::new();
        for path in paths {
            match path.is_dir() {
                false => programs.push(GivenProgram::at(path)?.with_context(|| {
                    format!(
                        "{} is no program: give a source in C or C++ (.c, .S, .cc, .cpp, .cxx), a script that \
                         begins with #!, or an executable file",
                        path.display()
                    )
                })?),
                true => programs.extend(in_folder(path)?),
            }
        }
        for (at, program) in programs.iter().enumerate() {
            let same = |other: &&GivenProgram| other.built() == program.built();
            if let Some(twin) = programs[..at].iter().find(same) {
                let (one, other) = (twin.path.display(), program.path.display());
                bail!("{one} and {other} would have one name in guests: rename one of them");
            }
        }
        Ok(Self { programs, flags, run_for: *run_for })
    }

    /// All that a program depends on beside the compiler.
    fn recipe_of(&self, program: &GivenProgram) -> Result<serde_json::Value> {
        let GivenProgram { path, name, compiler } = program;
        let text = match compiler {
            None => read(path)?,
            // Headers, and what flags say of them.
            Some(compiler) => preprocessed(&compiler.name(), path, self.flags)?,
        };
        Ok(serde_json::json!({ "name": name, "text": hex(&Sha256::digest(text)) }))
    }
}

impl Adapter for GivenSuite<'_> {
    fn name(&self) -> String {
        PROGRAM.into()
    }

    fn recipe(&self, _ctx: &Ctx) -> Result<serde_json::Value> {
        let programs = self.programs.iter().map(|program| self.recipe_of(program));
        let programs: Vec<_> = programs.collect::<Result<_>>()?;
        Ok(serde_json::json!({ "programs": programs, "flags": self.flags }))
    }

    fn make(&self, _ctx: &Ctx, step: &Step<'_>, _work: &Path, out: &Path) -> Result<()> {
        for program in &self.programs {
            let to = out.join(program.built());
            let Some(compiler) = program.compiler else {
                fs::write(&to, read(&program.path)?)
                    .and_then(|()| fs::set_permissions(&to, fs::Permissions::from_mode(0o755)))
                    .with_context(|| format!("cannot write {}", to.display()))?;
                continue;
            };
            // Guests may have another C library than this host.
            let cmd = Cmd::new(compiler.name()).args(["-static", "-g", "-O1", "-o"]);
            step.run(&cmd.arg(&to).arg(&program.path).args(self.flags))?;
        }
        Ok(())
    }

    fn cases(&self, _built: &Archive) -> Result<Cases> {
        let mut rules = Rules::new(ResultBy::ExitCode, None);
        rules.lasts = self.run_for.is_some();
        let listed = self.programs.iter().map(|program| Listed {
            program: program.built().into(),
            name: program.name.clone(),
            arguments: Vec::new(),
        });
        Ok(Cases {
            timeout: self.run_for,
            apart: true,
            ..Cases::of(Wanted::Listed(listed.collect()), rules)
        })
    }
}

impl GivenProgram {
    /// What a file is, if it can be a program.
    fn at(path: &Path) -> Result<Option<Self>> {
        let compiler = match path.extension().and_then(OsStr::to_str) {
            Some("c" | "S") => Some(Compiler::C),
            Some("cc" | "cpp" | "cxx" | "C") => Some(Compiler::Cxx),
            _ if is_program(path)? => None,
            _ => return Ok(None),
        };
        let name = path.file_name().and_then(OsStr::to_str);
        let name = name.with_context(|| format!("{} has no name in UTF-8", path.display()))?;
        let path = std::path::absolute(path).context("no current directory")?;
        Ok(Some(Self { name: name.into(), path, compiler }))
    }

    /// What the program is called in guests.
    fn built(&self) -> &str {
        match self.compiler {
            None => &self.name,
            Some(_) => self.name.rsplit_once('.').map_or(&self.name, |(stem, _)| stem),
        }
    }
}

/// The programs of a folder, sorted; what it has beside them is theirs to include.
fn in_folder(folder: &Path) -> Result<Vec<GivenProgram>> {
    let cannot = || format!("cannot list {}", folder.display());
    let entries = fs::read_dir(folder).with_context(cannot)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().with_context(cannot)?;
    paths.retain(|path| path.is_file());
    paths.sort();
    let programs = paths.iter().filter_map(|path| GivenProgram::at(path).transpose());
    let programs: Vec<_> = programs.collect::<Result<_>>()?;
    ensure!(
        !programs.is_empty(),
        "no file in {} is a program, or the source of one",
        folder.display()
    );
    Ok(programs)
}

/// Returns true if the kernel could run it: it begins as programs do, whatever its mode says.
fn is_program(path: &Path) -> Result<bool> {
    let mut start = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    let read = read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(start[..read].starts_with(b"#!") || start[..read].starts_with(b"\x7fELF"))
}

/// A source with all that it includes, by which it is known whether it has to be compiled again.
fn preprocessed(compiler: &str, path: &Path, flags: &[String]) -> Result<Vec<u8>> {
    let file = [OsStr::new("-E"), path.as_os_str()];
    let args = file.into_iter().chain(flags.iter().map(OsStr::new));
    let asked = duct::cmd(compiler, args).stdin_null().stdout_capture().stderr_capture();
    let told = asked.unchecked().run().with_context(|| {
        format!("cannot run the compiler `{compiler}`, which {} is for", path.display())
    })?;
    let said = String::from_utf8_lossy(&told.stderr);
    ensure!(told.status.success(), "{} does not compile:\n{}", path.display(), said.trim_end());
    Ok(told.stdout)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
