//! The suites of a run: cargo's tests, and programs.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::build::{Built, test_binaries};
use super::programs::{FolderSuite, GivenPrograms, GivenSuite, KSELFTEST, Kselftest, ProgramSuite};
use super::selection::Selection;
use crate::config::{KUNIT, PROGRAM, RUST, hint};
use crate::ctx::Ctx;
use crate::kernel::{KernelBinary, KernelSource};

/// Suites that are built.
#[derive(Debug)]
pub struct Suites {
    pub(super) rust: Built,
    pub(super) programs: Vec<ProgramSuite>,
}

impl Suites {
    /// Says what they ask of a kernel that has not got it.
    pub fn say_what_is_missing(&self, ctx: &Ctx, kernel: &KernelBinary) {
        for suite in &self.programs {
            let lacks = suite.lacks(kernel);
            if !lacks.is_empty() {
                ctx.ui.warn(&format!(
                    "suite {} asks for what kernel {} was built without: CONFIG_{}",
                    suite.name,
                    kernel.name,
                    lacks.join(", CONFIG_")
                ));
            }
        }
    }

    /// Builds the suites of these names, those of kernels for each of these, and these programs; without any name, all that are configured, and cargo's tests. Whoever selects among cargo's
    /// tests means these.
    ///
    /// # Errors
    /// [`super::TestBuildFailed`] when cargo's tests do not compile; another when a suite does not, or there is none of a name.
    pub fn build(
        ctx: &Ctx,
        names: &[String],
        given: Option<&GivenPrograms>,
        selection: &Selection,
        kernels: &[KernelSource<'_>],
    ) -> Result<Self> {
        let configured = &ctx.config.suites;
        let known = || configured.keys().map(String::as_str).chain([RUST, KUNIT]);
        let is_known = |name: &str| {
            known().any(|known| known == name)
                || target_of(name).is_some()
                || (name == PROGRAM && given.is_some())
        };
        if let Some(name) = names.iter().find(|name| !is_known(name)) {
            bail!(NoSuite(format!("no suite `{name}`{}", hint(name, known()))));
        }
        let is_wanted = |name: &str| match names {
            [] => name == RUST || selection.is_default(),
            names => names.iter().any(|wanted| wanted == name),
        };
        let rust = match is_wanted(RUST) {
            true => test_binaries(ctx, selection)?,
            false => Built { binaries: Vec::new(), members: Vec::new() },
        };
        let programs = configured.iter().filter(|(name, _)| is_wanted(name));
        let programs =
            programs.map(|(name, suite)| ProgramSuite::build(ctx, &FolderSuite { name, suite }));
        let mut programs = programs.collect::<Result<Vec<_>>>()?;
        if let Some(given) = given {
            programs.push(ProgramSuite::build(ctx, &GivenSuite::of(given)?)?);
        }
        for target in names.iter().filter_map(|name| target_of(name)) {
            for source in kernels {
                let suite = Kselftest::new(target, source, ctx.config.case_timeout);
                programs.push(ProgramSuite::build(ctx, &suite)?);
            }
        }
        for suite in &programs {
            let same = rust.binaries.iter().find(|binary| binary.name == suite.name);
            if let Some(binary) = same {
                bail!(
                    "the suite `{}` has the name of a test target of the package `{}`: call it otherwise",
                    suite.name,
                    binary.package
                );
            }
        }
        Ok(Self { rust, programs })
    }
}

/// The target of a kernel's selftests that a suite's name is of, if it is of one.
fn target_of(name: &str) -> Option<&str> {
    let target = name.strip_prefix(KSELFTEST)?;
    let is_plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    target.split('/').all(is_plain).then_some(target)
}

/// The suites of these cases, each once, if any is of a kernel; those of the configuration need not be named.
pub fn named_by(ctx: &Ctx, cases: &[String]) -> Vec<String> {
    let suites = cases.iter().filter_map(|case| case.split(' ').next());
    let of_kernels: BTreeSet<&str> =
        suites.filter(|suite| *suite == KUNIT || target_of(suite).is_some()).collect();
    if of_kernels.is_empty() {
        return Vec::new();
    }
    let configured = ctx.config.suites.keys().map(String::as_str);
    configured.chain([RUST]).chain(of_kernels).map(String::from).collect()
}

/// Returns true if suites of these names are of kernels, whose source they are built from.
pub fn are_of_kernels(names: &[String]) -> bool {
    names.iter().any(|name| target_of(name).is_some())
}

/// Returns true if suites of these names have unit tests of kernels, which the kernels themselves list.
pub fn have_unit_tests(names: &[String]) -> bool {
    names.iter().any(|name| name == KUNIT)
}

/// There is no suite of a name that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoSuite(String);
