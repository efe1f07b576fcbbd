//! Calls of make: the same environment whatever the user's is, and errors in the compiler's words.

use std::ffi::OsString;
use std::path::Path;
use std::thread::available_parallelism;

use anyhow::Result;

use super::complaints::Complaints;
use super::kit::Kit;
use super::progress::BuildProgress;
use super::recipe::{compiler_name, program};
use super::tree::KernelTree;
use super::verify::VerifiedValues;
use crate::isolation::Cmd;
use crate::step::Step;

/// Variables of the user's environment that builds keep. All others could change what is built:
/// make takes any of them for one of its own.
const KEPT: [&str; 5] = ["PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"];

/// What would otherwise differ from build to build ends up in the binary as this.
const FIXED: [&str; 5] = [
    "LC_ALL=C",
    "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER=uml",
    "KBUILD_BUILD_HOST=uml",
    "KBUILD_BUILD_VERSION=1",
];

/// Make for one tree and one build folder.
#[derive(Debug)]
pub struct Make<'a> {
    step: &'a Step<'a>,
    tree: &'a KernelTree,
    build: &'a Path,
    /// A folder whose files the binary calls by their names within it, and what it is a copy of.
    copy: Option<(&'a Path, &'a Path)>,
}

impl<'a> Make<'a> {
    /// Make within `step`, for `tree`, with its output in `build`.
    pub fn new(step: &'a Step<'a>, tree: &'a KernelTree, build: &'a Path) -> Self {
        Self { step, tree, build, copy: None }
    }

    /// The same for files of `dir`, a copy of `original`. What is built calls them by their names within it, for example
    /// where a WARN says its place: wherever `dir` is, the binary is the same. Errors call them as the user does.
    pub fn of_copy(self, dir: &'a Path, original: &'a Path) -> Self {
        Self { copy: Some((dir, original)), ..self }
    }

    /// Makes a configuration by one of Kconfig's targets. `variables` are for this call alone.
    ///
    /// # Errors
    /// When make fails: with Kconfig's errors.
    pub fn configure(&self, target: &str, variables: &[OsString]) -> Result<()> {
        self.watched(&[target], variables, |_| {})
    }

    /// Makes the modules in the folder `dir` against a kernel that was built.
    ///
    /// # Errors
    /// When make fails: with the compiler's errors.
    pub fn modules(&self, _built: &Kit, dir: &Path) -> Result<()> {
        self.watched(&["modules"], &[assignment("M", dir)], |_| {})
    }

    /// Makes targets of a build folder that has this configuration; shows and counts the objects.
    ///
    /// # Errors
    /// When make fails: with the compiler's errors.
    pub fn build(
        &self,
        _config: &VerifiedValues,
        targets: &[&str],
        progress: &mut BuildProgress,
    ) -> Result<()> {
        let show = self.step.progress();
        self.watched(targets, &[], |line| {
            if let Some(how_far) = progress.see(line) {
                show(&how_far);
            }
        })
    }

    fn watched(
        &self,
        targets: &[&str],
        variables: &[OsString],
        mut watch: impl FnMut(&str),
    ) -> Result<()> {
        let mut complaints = Complaints::default();
        let result = self.step.run_watched(&self.command(targets, variables), |line| {
            complaints.see(line);
            watch(line);
        });
        match (result, complaints.text()) {
            (Err(error), Some(text)) => Err(error.context(match self.copy {
                Some((dir, original)) => {
                    text.replace(&*dir.to_string_lossy(), &original.to_string_lossy())
                }
                None => text,
            })),
            (result, _) => result,
        }
    }

    fn command(&self, targets: &[&str], variables: &[OsString]) -> Cmd {
        let era = self.tree.era();
        let jobs = available_parallelism().map_or(1, |count| count.get());
        let source = self.tree.dir().to_string_lossy();
        let mut kcflags = era.kcflags.join(" ").replace("{source}", &source);
        if let Some((dir, _)) = self.copy {
            kcflags += &format!(" -fmacro-prefix-map={}/=", dir.display());
        }
        let kcflags = (!kcflags.is_empty()).then(|| format!("KCFLAGS={kcflags}"));
        Cmd::new("env")
            .arg("-i")
            .args(kept())
            .args(FIXED)
            .arg("make")
            .arg("-C")
            .arg(self.tree.dir())
            .arg(assignment("O", self.build))
            .arg("ARCH=um")
            .arg(format!("CC={}", compiler(era.compiler_flags)))
            // A host whose only compiler is another has none for its own programs either.
            .arg(format!("HOSTCC={}", compiler_name()))
            .args(era.variables.iter().map(|(name, value)| format!("{name}={value}")))
            .args(kcflags)
            .args(variables)
            // Lines of one object stay together, so that an error has its context.
            .arg("--output-sync=target")
            .arg(format!("-j{jobs}"))
            .args(targets)
    }
}

/// `NAME=path`, whatever bytes the path has.
pub fn assignment(name: &str, path: &Path) -> OsString {
    let mut text = OsString::from(format!("{name}="));
    text.push(path);
    text
}

fn compiler(flags: &[&str]) -> String {
    let ccache = program("ccache").map(|_| "ccache");
    let name = compiler_name();
    let words: Vec<&str> =
        ccache.into_iter().chain([&*name]).chain(flags.iter().copied()).collect();
    words.join(" ")
}

fn kept() -> Vec<OsString> {
    std::env::vars_os()
        .filter(|(name, _)| {
            name.to_str().is_some_and(|name| KEPT.contains(&name) || name.starts_with("CCACHE_"))
        })
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        })
        .collect()
}
