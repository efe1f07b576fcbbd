//! Suites of programs: built outside of guests, kept by their contents, each program a case.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use glob::Pattern;
use serde::Serialize;

use crate::ctx::Ctx;
use crate::guest::Program;
use crate::kernel::{KernelBinary, Toolchain};
use crate::step::Step;
use crate::store::Kind;

mod adapter;
mod archive;
mod folder;
mod given;
mod kselftest;
mod rules;
mod tap;

pub use adapter::{Adapter, Cases, Listed, Wanted};
pub use archive::{Archive, Other};
pub use folder::FolderSuite;
pub use given::{GivenPrograms, GivenSuite};
pub use kselftest::{Kselftest, PREFIX as KSELFTEST};
pub use rules::{Judgement, Rules, Wrote};

/// Raised whenever what is done with a recipe changes.
const VERSION: u32 = 2;

/// Why a program that others can build may not be there.
const WITHOUT_LIBRARIES: &str =
    "; this host may not have a library that it needs: the log of its build says so";

/// Where suites are in guests.
const PLACE: &str = "/srv/suites";

/// What a suite is made from.
#[derive(Debug, Serialize)]
struct SuiteRecipe {
    version: u32,
    of_suite: serde_json::Value,
    toolchain: Toolchain,
}

/// A suite that is built.
#[derive(Debug)]
pub struct ProgramSuite {
    /// Its name.
    pub name: String,
    /// The kernel that it is of, if it is of one alone.
    pub kernel: Option<String>,
    /// What of it is run, and how.
    pub cases: Cases,
    /// What was built of it.
    pub archive: Archive,
}

/// A program of a suite.
#[derive(Debug)]
pub struct SuiteProgram {
    /// Its path in the suite's folder.
    pub path: String,
    /// What guests are sent.
    pub program: Program,
    /// None if it is there for cases of others.
    pub cases: Vec<ProgramCase>,
}

/// A program that is a case.
#[derive(Debug, Clone)]
pub struct ProgramCase {
    /// What the case is called.
    pub name: String,
    /// What the program is called with.
    pub arguments: Vec<String>,
    /// The folder that it runs in.
    pub folder: String,
    /// True if it is run only where ignored cases are asked for.
    pub ignored: bool,
}

impl ProgramSuite {
    /// Builds a suite, unless the store has it.
    ///
    /// # Errors
    /// When it cannot be built, or has no case.
    pub fn build(ctx: &Ctx, adapter: &dyn Adapter) -> Result<Self> {
        Self::find_or_make(ctx, adapter).with_context(|| format!("suite {}", adapter.name()))
    }

    fn find_or_make(ctx: &Ctx, adapter: &dyn Adapter) -> Result<Self> {
        let of_suite = adapter.recipe(ctx)?;
        let recipe = SuiteRecipe { version: VERSION, of_suite, toolchain: Toolchain::find(ctx)? };
        let entry = ctx
            .store
            .get_or_build(&ctx.cancel, Kind::Suite, &recipe, |entry| make(ctx, adapter, entry))?;
        let archive = Archive::of_entry(entry)?;
        let cases = adapter.cases(&archive)?;
        let kernel = adapter.kernel().map(String::from);
        let suite = Self { name: adapter.name(), kernel, cases, archive };
        suite.look_for_missing(ctx)?;
        Ok(suite)
    }

    /// Says which programs are to be cases and are not there.
    fn look_for_missing(&self, ctx: &Ctx) -> Result<()> {
        let paths: Vec<&str> = self.archive.programs().map(|(path, _)| path).collect();
        let (there, missing): (Vec<&str>, Vec<&str>) = match &self.cases.wanted {
            Wanted::Programs(patterns) => {
                let names = patterns.iter().map(Pattern::as_str).zip(patterns);
                partition(names, |pattern| paths.iter().any(|path| pattern.matches(path)))
            }
            Wanted::Listed(listed) => {
                let names = listed.iter().map(|one| (one.name.as_str(), one));
                partition(names, |one| paths.iter().any(|path| name_of(path) == one.program))
            }
        };
        let missing = missing.join(", ");
        ensure!(
            !there.is_empty() && (self.cases.may_be_missing || missing.is_empty()),
            "no program that was built is {missing}{}",
            match (self.cases.may_be_missing, paths.as_slice()) {
                (true, _) => WITHOUT_LIBRARIES.into(),
                (false, []) => "; there is no executable file".into(),
                (false, paths) => format!("; there is {}", paths.join(", ")),
            },
        );
        if !missing.is_empty() {
            let name = &self.name;
            let line =
                format!("suite {name}: not built, and not run: {missing}{WITHOUT_LIBRARIES}");
            ctx.ui.warn(&line);
        }
        Ok(())
    }

    /// What it asks of this kernel, which has not got it; nothing if it is of another.
    pub fn lacks<'s>(&'s self, kernel: &'s KernelBinary) -> Vec<&'s str> {
        let is_its = self.kernel.as_ref().is_none_or(|name| *name == kernel.name);
        let asks = self.cases.asks.iter().filter(|symbol| is_its && !kernel.has(symbol));
        asks.map(String::as_str).collect()
    }

    /// Where it is in guests.
    pub fn place(&self) -> String {
        let kernel = self.kernel.as_ref().map(|kernel| format!("/{kernel}"));
        format!("{PLACE}{}/{}", kernel.unwrap_or_default(), self.name.replace(':', "/"))
    }

    /// Its programs, sorted.
    pub fn programs(&self) -> impl Iterator<Item = SuiteProgram> {
        self.archive.programs().map(move |(path, program)| {
            let cases = match &self.cases.wanted {
                Wanted::Programs(patterns) if is_one(patterns, path) => {
                    let own = path.rsplit_once('/').filter(|_| self.cases.in_own_folder);
                    vec![self.case(own.map_or(path, |(_, name)| name), path, &[])]
                }
                Wanted::Programs(_) => Vec::new(),
                Wanted::Listed(listed) => {
                    let own = listed.iter().filter(|one| one.program == name_of(path));
                    own.map(|one| self.case(&one.name, path, &one.arguments)).collect()
                }
            };
            SuiteProgram { path: path.into(), program, cases }
        })
    }

    /// A case of the program at this path.
    fn case(&self, name: &str, path: &str, arguments: &[String]) -> ProgramCase {
        let folder = match path.rsplit_once('/') {
            Some((folder, _)) if self.cases.in_own_folder => format!("{}/{folder}", self.place()),
            _ => self.place(),
        };
        let ignored = is_one(&self.cases.ignored, name) || is_one(&self.cases.ignored, path);
        ProgramCase { name: name.into(), arguments: arguments.to_vec(), folder, ignored }
    }

    /// What its programs have in their environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let own = &self.cases.environment;
        let own = own.iter().map(|(name, value)| (name.clone(), value.clone()));
        // Programs call each other by their names.
        let path = format!("{}:{}", self.place(), uml_protocol::env::PATH);
        own.chain([("PATH".into(), path)]).collect()
    }
}

fn is_one(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// The last part of a path.
fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The names of what is there, and of what is not.
fn partition<'a, T>(
    named: impl Iterator<Item = (&'a str, T)>,
    is_there: impl Fn(&T) -> bool,
) -> (Vec<&'a str>, Vec<&'a str>) {
    let (there, missing): (Vec<_>, Vec<_>) = named.partition(|(_, one)| is_there(one));
    let names = |those: Vec<(&'a str, T)>| those.into_iter().map(|(name, _)| name).collect();
    (names(there), names(missing))
}

/// Builds a suite into an entry of the store.
fn make(ctx: &Ctx, adapter: &dyn Adapter, entry: &Path) -> Result<()> {
    let step = Step::begin(ctx, &format!("suite {}", adapter.name().replace([':', '/'], " ")))?;
    let work = tempfile::Builder::new().prefix("suite-").tempdir_in(ctx.run()?.path());
    let work = work.context("cannot make a folder to build in")?;
    let out = work.path().join("out");
    std::fs::create_dir(&out).context("cannot make a folder for what is built")?;
    adapter.make(ctx, &step, work.path(), &out)?;
    let programs = archive::pack(&out, entry)?;
    step.done(&format!("{programs} programs"));
    Ok(())
}
