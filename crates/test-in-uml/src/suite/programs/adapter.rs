//! What each kind of suite says of itself: what it is built from, how, and which cases it has.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use glob::Pattern;

use super::{Archive, Rules};
use crate::ctx::Ctx;
use crate::step::Step;

/// What makes a suite of programs.
pub trait Adapter {
    /// What the suite is called.
    fn name(&self) -> String;

    /// The kernel that it is of, if it is of one alone.
    fn kernel(&self) -> Option<&str> {
        None
    }

    /// All that what is built depends on, beside the toolchain.
    ///
    /// # Errors
    /// When its sources cannot be read.
    fn recipe(&self, ctx: &Ctx) -> Result<serde_json::Value>;

    /// Builds it into the folder `out`; what it needs meanwhile is in `work`.
    ///
    /// # Errors
    /// When it cannot be built.
    fn make(&self, ctx: &Ctx, step: &Step<'_>, work: &Path, out: &Path) -> Result<()>;

    /// What of it is run, and how.
    ///
    /// # Errors
    /// When what was built cannot be understood.
    fn cases(&self, built: &Archive) -> Result<Cases>;
}

/// What of a suite is run, and how.
#[derive(Debug)]
pub struct Cases {
    /// Those that there are.
    pub wanted: Wanted,
    /// Those of them that are run only where ignored cases are asked for.
    pub ignored: Vec<Pattern>,
    /// How they say how they ended.
    pub rules: Rules,
    /// The time that one may take, if it is not that of any case.
    pub timeout: Option<Duration>,
    /// True if each gets a guest of its own.
    pub apart: bool,
    /// What the configuration of a kernel has to have for them.
    pub needs: Vec<String>,
    /// What they ask of a kernel's configuration, and some of them do without.
    pub asks: Vec<String>,
    /// What they have in their environment.
    pub environment: BTreeMap<String, String>,
    /// True if each runs in the folder that it is in, and is called by its name there.
    pub in_own_folder: bool,
    /// True if some of them may be missing: not every one can be built everywhere.
    pub may_be_missing: bool,
}

impl Cases {
    /// These, as they are.
    pub fn of(wanted: Wanted, rules: Rules) -> Self {
        Self {
            wanted,
            ignored: Vec::new(),
            rules,
            timeout: None,
            apart: false,
            needs: Vec::new(),
            asks: Vec::new(),
            environment: BTreeMap::new(),
            in_own_folder: false,
            may_be_missing: false,
        }
    }
}

/// The cases of a suite.
#[derive(Debug)]
pub enum Wanted {
    /// The programs of these paths, each a case of its name.
    Programs(Vec<Pattern>),
    /// These.
    Listed(Vec<Listed>),
}

/// A case out of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is called.
    pub name: String,
    /// The name of its program.
    pub program: String,
    /// The program's arguments.
    pub arguments: Vec<String>,
}
