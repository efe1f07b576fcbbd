//! What the cases of a guest lost of the kernel's memory, which its kernel looks for at the end.

use std::collections::BTreeSet;

use uml_protocol::marker::Expectation;
use uml_protocol::wire::Owner;
use uml_protocol::wire::{Exit, Leaks};

use super::CaseRecord;
use crate::guest::complaint::Complaint;

/// What the kernel says of memory that was lost, and how that line ends (`kmemleak_scan()` in
/// mm/kmemleak.c).
const LEAK: &str = "kmemleak";
const SEE_LIST: &str = "(see /sys/kernel/debug/kmemleak)";

#[derive(Debug, Default)]
pub(super) struct LostMemory {
    /// What was found, once that is looked for.
    found: Option<Leaks>,
    /// The cases whose kernel said while they ran that memory was lost.
    told: BTreeSet<u32>,
    /// True if the kernel complained of something else: what an oops or an overwritten slab leaves behind
    /// is no leak, and the search may meet it.
    in_disorder: bool,
}

impl LostMemory {
    /// A case is over, in the agent's words: what earlier ones lost, and the kernel found while it ran, is
    /// not its fault.
    pub fn judge(&mut self, case: &mut CaseRecord, exit: &Exit) {
        self.in_disorder |= case.reports.names().any(|name| name != LEAK);
        if !case.reports.has(LEAK) {
            return;
        }
        let is_own = |(owner, _): &(Owner, String)| *owner == Owner::Case(case.sequence);
        if exit.leaks.as_ref().is_some_and(|leaks| !leaks.iter().any(is_own)) {
            case.reports.excuse(is_list);
        } else {
            self.told.insert(case.sequence);
        }
    }

    /// Returns true if a search proves anything.
    pub fn is_in_order(&self) -> bool {
        !self.in_disorder
    }

    /// It is looked for; says whether for the first time.
    pub fn begin(&mut self) -> bool {
        let is_first = self.found.is_none();
        self.found.get_or_insert_default();
        is_first
    }

    /// Returns true if it is, or was, looked for.
    pub fn is_searched(&self) -> bool {
        self.found.is_some()
    }

    /// This was found.
    pub fn end(&mut self, found: Leaks) {
        self.found = Some(found);
    }

    /// Returns true if a complaint of the kernel's only says that there is something in the list.
    pub fn has(&self, complaint: &Complaint) -> bool {
        self.is_searched() && is_list(complaint)
    }

    /// Takes it, but for the leaks of cases that were told so, and those that are known.
    pub fn take(&mut self, known: &[Expectation]) -> Leaks {
        let mut leaks = self.found.take().unwrap_or_default();
        leaks.retain(|(owner, what)| {
            let told = matches!(owner, Owner::Case(case) if self.told.contains(case));
            !told && !known.iter().any(|known| known.is_met_by(what))
        });
        leaks
    }
}

fn is_list(complaint: &Complaint) -> bool {
    complaint.name == LEAK && complaint.line.ends_with(SEE_LIST)
}
