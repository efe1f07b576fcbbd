//! What cases lost of the kernel's memory, on kernels that can look for it (kmemleak.rst).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use uml_agent::leaks::{Leak, Life, Lives, MINIMAL_AGE, Search, at, now};
use uml_protocol::wire::{Leaks, Owner};

/// More than this is not told: one of them makes a run red.
const MOST_TOLD: usize = 100;

/// The cases that a guest ran, if its kernel can look for what they lost.
#[derive(Default)]
pub struct LostMemory {
    can_be_found: bool,
    lives: Lives,
}

impl LostMemory {
    /// Has the kernel look only when we ask: of what it finds by itself, the case that runs then is not the
    /// cause.
    pub fn watch(&mut self) -> Result<()> {
        if let Some(search) = Search::open().context("cannot search for leaks")? {
            // A kernel that has switched its search off has said so.
            self.can_be_found = search.only_when_asked().is_ok();
        }
        Ok(())
    }

    /// Returns true if a search may find anything.
    pub fn is_worth_a_search(&self) -> bool {
        self.can_be_found && self.lives.last().is_some()
    }

    /// Notes a case that is over: its number, its first process, when it began and ended since the kernel
    /// started.
    pub fn note(&mut self, sequence: u32, pid: i32, (from, to): (Duration, Duration)) {
        if self.can_be_found {
            self.lives.push(Life { sequence, pid, from: at(from), to: at(to) });
        }
    }

    /// What was found so far, and whose it is.
    pub fn found(&self) -> Result<Leaks> {
        match Search::open().context("cannot search for leaks")? {
            Some(search) => self.list(&search),
            None => Ok(Leaks::new()),
        }
    }

    /// Looks for what was lost, and says whose it is.
    pub fn search(&self) -> Result<Leaks> {
        let Some(search) = Search::open().context("cannot search for leaks")? else {
            return Ok(Leaks::new());
        };
        let old = Duration::from_millis(10 * now().saturating_sub(self.lives.last().unwrap_or(0)));
        std::thread::sleep(MINIMAL_AGE.saturating_sub(old));
        // A kernel that has switched its search off has said so, and finds nothing more.
        let _ = search.run();
        self.list(&search)
    }

    fn list(&self, search: &Search) -> Result<Leaks> {
        let mut by_owner: BTreeMap<Owner, Vec<Leak>> = BTreeMap::new();
        for leak in search.found().context("cannot read the leaks")? {
            by_owner.entry(self.lives.whose(&leak)).or_default().push(leak);
        }
        let told = by_owner.iter().flat_map(|(owner, leaks)| {
            Leak::summaries(leaks).into_iter().map(|summary| (*owner, summary))
        });
        Ok(told.take(MOST_TOLD).collect())
    }
}
