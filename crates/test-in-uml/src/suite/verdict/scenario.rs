//! What a case had beside its own guest, in its verdict.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::{Outcome, Verdict};
use crate::guest::Complaint;
use crate::lab::LabGuestRecord;
use crate::record::{CaseEnd, ScenarioGuest, ScenarioNetwork};

impl Verdict {
    /// Adds what became of a guest of the case's scenario: what its kernel says counts as if the case's own had said
    /// it.
    pub fn add_guest(&mut self, guest: LabGuestRecord) {
        let LabGuestRecord { name, kernel, mut complaints, interfaces, boots, log } = guest;
        let outcomes = [CaseEnd::Passed, CaseEnd::Skipped, CaseEnd::Failed];
        if outcomes.contains(&self.outcome.end()) && !complaints.is_empty() {
            let first = complaints.swap_remove(0);
            let line = format!("{name}: {}", first.line);
            self.outcome = Outcome::Kernel(Complaint { name: first.name, line });
        }
        self.log.push(format!("--- {name} ({})", kernel.as_deref().unwrap_or("never up")));
        self.log.extend(log.into_iter().map(|line| format!("{name}| {line}")));
        let interfaces = interfaces.into_iter().map(|(network, at)| (network, at.to_string()));
        self.scenario.guests.push(ScenarioGuest {
            name,
            kernel,
            interfaces: interfaces.collect(),
            boots: boots.iter().map(Duration::as_secs_f64).collect(),
        });
    }

    /// Adds a network of the case's scenario, and where what passed there was kept, or why that failed.
    pub fn add_network(&mut self, name: String, kept: Option<Result<PathBuf>>) {
        self.log.extend(kept.as_ref().map(|kept| match kept {
            Ok(path) => format!("--- network {name}: {}", path.display()),
            Err(error) => format!("--- network {name}: {error:#}"),
        }));
        let capture = kept.and_then(Result::ok).and_then(|path| {
            let name = path.file_name()?;
            Some(name.to_string_lossy().into_owned())
        });
        self.scenario.networks.push(ScenarioNetwork { name, capture });
    }
}
