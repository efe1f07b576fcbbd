//! A case of a run in a person's guest.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::cli::choice;
use crate::cli::kernels::{Source, WantedKernel};
use crate::cli::modules::module_folders;
use crate::ctx::Ctx;
use crate::kernel::{KernelBinary, build_modules};
use crate::person::{self, GuestName, Place};
use crate::report::Again;
use crate::suite::{self, BinaryCase, Case, CaseFilter, Ignored, Selection, Suites};

/// Where a case that is to be run by hand is in the guest.
const CASE: &str = "/root/case";

/// The case that is to be run by hand, as the command line says it.
#[derive(Debug, Args)]
pub(super) struct ReplayChoice {
    /// Put the program of a case of RUN (an id, or `latest`) in it, with a script that runs the case by hand; boots the
    /// case's kernel
    #[arg(long, value_name = "RUN/CASE")]
    replay: Option<String>,
}

/// A case that is to be run by hand.
pub(super) struct Replayed {
    name: String,
    pub again: Again,
    case: BinaryCase,
}

impl ReplayChoice {
    /// The case, if one is wanted, with its program built.
    pub fn case(&self, ctx: &Ctx) -> Result<Option<Replayed>> {
        let Some(replay) = &self.replay else { return Ok(None) };
        let again = choice::sequence(ctx, replay)?;
        let names = suite::named_by(ctx, &again.cases);
        ensure!(
            !suite::have_unit_tests(&names),
            "{replay}: a unit test of a kernel runs while that boots, and cannot be run in a guest by hand; \
             `test-in-uml --replay {replay}` runs it again"
        );
        let kernel = WantedKernel::named(ctx, &again.kernel, Source::Configured)?;
        let suites =
            Suites::build(ctx, &names, None, &Selection::default(), &[kernel.source(ctx)?])?;
        let all = CaseFilter { words: Vec::new(), ignored: Ignored::All };
        let (found, _) = again.among(&suite::list(ctx, &suites, &[], &all)?);
        let name = again.cases.last().cloned().unwrap_or_default();
        let case = found.into_iter().filter_map(Case::into_binary_case);
        let case = case.filter(|case| case.name().to_string() == name).last();
        let case = case.with_context(|| choice::why_gone(&name))?;
        Ok(Some(Replayed { name: replay.clone(), again, case }))
    }

    /// How such a case is run in a guest, in a line after this text; `run` is before the script's path.
    pub fn tell(&self, mut text: String, run: &str) -> String {
        if let Some(replay) = &self.replay {
            // Writing to a string does not fail.
            let _ = write!(text, "\n{replay} is run by `{run}{CASE}/{}`", suite::RUN);
        }
        text
    }
}

impl Replayed {
    /// Puts it into a guest that takes commands.
    pub fn put(&self, ctx: &Ctx, guest: &GuestName, kernel: &KernelBinary) -> Result<()> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let modules = build_modules(ctx, kernel, &module_folders(ctx, &[])?)?;
        suite::write_by_hand(&self.case, kernel, &modules, folder.path())?;
        let place = Place::Guest(guest.clone(), CASE.into());
        let put = person::copy(ctx, &[Place::Host(folder.path().into())], &place);
        put.with_context(|| format!("{} is not in the guest", self.name))
    }
}
