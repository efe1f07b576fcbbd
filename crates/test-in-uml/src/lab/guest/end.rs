//! How a guest of a scenario ended, and what that says of its case.

use std::fs;
use std::time::Duration;

use super::LabGuest;
use crate::guest::machine::End;
use crate::guest::{BootFailed, Complaint, Gone};
use crate::lab::{LabGuestRecord, answers};

impl LabGuest<'_, '_, '_> {
    /// Takes it out of its networks.
    pub(super) fn disconnect(&self) {
        let state = self.lab.state();
        for network in self.spec.networks.iter().filter_map(|name| state.networks.get(name)) {
            network.disconnect(&self.spec.name);
        }
    }

    /// A guest is over; `cut` says whether we cut its power.
    pub(super) fn gone(&mut self, gone: Gone, cut: bool) {
        let on = self.lab.state().on.remove(&self.spec.name);
        self.lab.off.notify_all();
        let cut = cut || on.is_some_and(|(_, cut)| cut);
        self.disconnect();
        let Gone { end, strays, leaks } = gone;
        self.complaints.extend(strays);
        let leaks = leaks.into_iter().map(|(_, what)| what);
        self.complaints.extend(leaks.map(|line| Complaint { name: "kmemleak", line }));
        let died = match &end {
            End::Clean { .. } => None,
            // A panic comes before our cut, and is no less for it.
            End::Panicked(_) => Some("panic"),
            End::Hung(_) | End::Lost(_) | End::BootFailed(_) if cut => None,
            End::Hung(_) => Some("hang"),
            End::Lost(_) | End::BootFailed(_) => Some("lost"),
        };
        if let Some(name) = died {
            self.judge_death(name, &end.to_string());
        }
    }

    /// It did not come up: that is a death like any other.
    pub(super) fn not_up(&mut self, error: &anyhow::Error, powered_on: Duration) {
        self.disconnect();
        if let Some(failed) = error.downcast_ref::<BootFailed>() {
            self.boots.push(powered_on);
            self.consoles.push(failed.console_log.clone());
            self.judge_death("not up", &failed.how());
        }
    }

    /// It did not end as we asked it to: what was declared is no complaint.
    fn judge_death(&mut self, name: &'static str, end: &str) {
        match self.death.take() {
            Some(text) if self.log().iter().any(|line| line.contains(&text)) => {
                // What led to it was meant.
                self.complaints.clear();
            }
            Some(text) => {
                let line = format!("{end}, and did not say `{text}`");
                self.complaints.insert(0, Complaint { name, line });
            }
            None => self.complaints.push(Complaint { name, line: end.to_owned() }),
        }
    }

    /// The lines of its consoles, those of one boot after those of another.
    pub(super) fn log(&self) -> Vec<String> {
        let texts = self.consoles.iter().map(|path| fs::read(path).unwrap_or_default());
        let lines = texts.flat_map(|text| {
            let text = String::from_utf8_lossy(&text).into_owned();
            text.lines().map(crate::text::plain).collect::<Vec<_>>()
        });
        lines.collect()
    }

    /// Ends it with the case.
    pub fn end(mut self) -> LabGuestRecord {
        self.look();
        if let Some(made) = self.current.take()
            && let Ok(gone) = made.guest.cut_power()
        {
            self.gone(gone, true);
        }
        if let Some(text) = self.death.take() {
            let line = format!("it did not end by itself with `{text}`");
            self.complaints.push(Complaint { name: "lives on", line });
        }
        let (declared, log) = (std::mem::take(&mut self.declared), self.log());
        self.complaints
            .retain(|complaint| !declared.iter().any(|text| complaint.line.contains(text)));
        let unmet = declared.iter().filter(|text| !log.iter().any(|line| line.contains(*text)));
        let unmet = unmet.map(|text| format!("it did not say `{text}`, as was declared"));
        self.complaints.extend(unmet.map(|line| Complaint { name: "declared", line }));
        let log = answers::lines(log);
        // A disk that cannot be removed goes with the stage.
        let _ = self.lab.maker.remove_disk(&self.disk.0);
        let Self { spec, kernel, complaints, boots, addresses, .. } = self;
        let interfaces =
            spec.networks.into_iter().zip(addresses.iter().map(|own| own.v4)).collect();
        LabGuestRecord { name: spec.name, kernel, complaints, interfaces, boots, log }
    }
}
