//! What tests of whole runs are told of them.

use crate::record::{CaseEnd, CaseLine, GuestEnd, GuestLine};
use crate::suite::note::{Note, Observer};

/// What was told of a run.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub cases: Vec<CaseLine>,
    pub again: Vec<CaseLine>,
    pub guests: Vec<GuestLine>,
}

impl Observer for Told {
    fn note(&mut self, note: &Note) {
        match note {
            Note::Ended(case) => self.cases.push(CaseLine::clone(case)),
            Note::Again(case) => self.again.push(CaseLine::clone(case)),
            Note::GuestEnded(guest) => self.guests.push(guest.clone()),
            _ => {}
        }
    }

    fn tick(&mut self) {}
}

impl Told {
    /// How each case ended, by its name.
    pub fn ends(&self) -> Vec<(&str, CaseEnd)> {
        let mut ends: Vec<_> =
            self.cases.iter().map(|case| (case.name.as_str(), case.end)).collect();
        ends.sort_by_key(|(name, _)| *name);
        ends
    }

    pub fn case(&self, name: &str) -> &CaseLine {
        self.cases.iter().find(|case| case.name == name).unwrap()
    }

    pub fn guest_ends(&self) -> Vec<GuestEnd> {
        let mut guests: Vec<_> = self.guests.iter().collect();
        guests.sort_by_key(|guest| &guest.guest);
        guests.iter().map(|guest| guest.end).collect()
    }
}
