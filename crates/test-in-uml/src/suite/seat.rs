//! A seat: one guest at a time, on a CPU of its own. A guest that ends, or whose kernel complains,
//! is replaced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use uml_protocol::wire::Owner;

use super::binary_case::BinaryCase;
use super::note::Note;
use super::plan::Target;
use super::session::RunSession;
use super::verdict::{Place, Verdict};
use crate::guest::machine::{CaseRecord, End};
use crate::guest::{CaseRun, Complaint, Gone, Sink};
use crate::lab::LabRecord;
use crate::record::{GuestEnd, GuestLine};
use crate::stage::Share;

mod current;

use current::Current;

/// A place for one guest.
pub(super) struct Seat<'a> {
    session: &'a RunSession<'a>,
    share: Share,
    current: Option<Current<'a>>,
}

/// How a guest is parted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retire {
    /// It is asked to switch itself off.
    SwitchOff,
    /// Its processes are ended: nobody wants to wait any more.
    Drop,
}

impl<'a> Seat<'a> {
    pub fn new(session: &'a RunSession<'a>, share: Share) -> Self {
        Self { session, share, current: None }
    }

    /// What its guests have of the host.
    pub fn share(&self) -> Share {
        self.share
    }

    /// Returns true if a guest is there that has run a case.
    pub fn is_used(&self) -> bool {
        self.current.as_ref().is_some_and(|current| !current.ran.is_empty())
    }

    /// Returns true if the guest that is there is for no other case.
    pub fn is_spoilt(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.spoilt)
    }

    /// Has a guest of that kernel there.
    fn ensure_guest(&mut self, target: &Arc<Target>) -> Result<&mut Current<'a>> {
        let other = |current: &Current<'_>| current.spoilt || !Arc::ptr_eq(&current.target, target);
        if self.current.as_ref().is_some_and(other) {
            self.retire(Retire::SwitchOff)?;
        }
        let current = match self.current.take() {
            Some(current) => current,
            None => Current::start(self.session, target, self.share)?,
        };
        Ok(self.current.insert(current))
    }

    /// Runs a case in a guest that lives.
    /// `sink` is told what it writes as it comes.
    pub fn run(
        &mut self,
        target: &Arc<Target>,
        case: &BinaryCase,
        attempt: u32,
        sink: Option<Sink<'_>>,
    ) -> Result<Verdict> {
        // A guest that dies before a case begins is no fault of this case. A second one that does
        // the same is.
        let mut end = End::Lost("twice".into());
        for _ in 0..2 {
            let session = self.session;
            let current = self.ensure_guest(target)?;
            let (began, clock) = (session.elapsed(), Instant::now());
            let (ran, scenario) = current.run(session, case, attempt, sink)?;
            let record = match ran {
                CaseRun::Ran(record) => *record,
                CaseRun::NotBegun => {
                    end = current.guest.end().cloned().unwrap_or(end);
                    self.retire(Retire::SwitchOff)?;
                    continue;
                }
            };
            current.ran.push(case.name().to_string());
            let mut verdict = Verdict::of(
                record,
                case.asked(session.plan.inject.as_ref()),
                clock.elapsed(),
                current.guest.end(),
            );
            let LabRecord { guests, networks } = scenario;
            guests.into_iter().for_each(|guest| verdict.add_guest(guest));
            let keeps = session.plan.captures || verdict.outcome.is_failure();
            for (network, capture) in networks {
                let kept =
                    keeps.then(|| session.keep_capture(&case.name(), attempt, &network, &capture));
                verdict.add_network(network, kept);
            }
            verdict.place =
                Some(Place { guest: current.guest.name().into(), order: current.cases(), began });
            if verdict.outcome.complaint().is_some() {
                verdict.hold_against(current.guest.withheld_from_case());
            }
            verdict.goes_after(&mut current.loads, &case.name().to_string());
            current.charged = current.guest.end().is_some();
            current.failed |= verdict.outcome.is_failure();
            // What a failed case left on a disk that is kept is not to be overwritten.
            let kept = current.failed && current.cow.is_some();
            current.spoilt = current.charged || kept || verdict.spoils_guest();
            return Ok(verdict);
        }
        Ok(Verdict::of(CaseRecord::default(), case.asked(None), Duration::ZERO, Some(&end)))
    }

    /// Parts with the guest that there is, if any.
    pub fn retire(&mut self, how: Retire) -> Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let cases = current.cases();
        let Current { guest, target, cow, charged, failed, mut ran, booted, ready, .. } = current;
        let (name, by_hand) = (guest.name().to_owned(), guest.by_hand().to_owned());
        let (end, strays) = match how {
            Retire::SwitchOff => {
                let Gone { end, mut strays, leaks } = guest.shutdown()?;
                strays.extend(leaks.iter().map(|leak| lost_memory(leak, &ran)));
                (end, strays)
            }
            Retire::Drop => {
                drop(guest);
                (End::Lost("interrupted".into()), Vec::new())
            }
        };
        let kernel = target.kernel.name.clone();
        let line = GuestLine {
            guest: name,
            kernel: kernel.clone(),
            cpu: self.share.cpu,
            booted: Some(booted.as_secs_f64()),
            ready: Some(ready.as_secs_f64()),
            ended: Some(self.session.elapsed().as_secs_f64()),
            cases,
            end: word_of(&end),
            detail: end.detail().into(),
            charged: charged || how == Retire::Drop,
            last_case: ran.pop(),
            strays: strays.iter().map(ToString::to_string).collect(),
        };
        let failed = failed || line.is_failure();
        self.session.tell(Note::GuestEnded(line));
        match cow {
            Some(cow) if failed => {
                cow.take_back()?;
                self.session.tell(Note::Kept(cow.how_to_boot(&kernel, &by_hand)));
            }
            Some(cow) => cow.remove()?,
            None => {}
        }
        Ok(())
    }
}

/// What is to be said of memory that a case lost which said nothing of it. A guest has run these.
fn lost_memory((owner, what): &(Owner, String), ran: &[String]) -> Complaint {
    let name = |number: &u32| {
        let place = usize::try_from(*number).ok().and_then(|number| number.checked_sub(1));
        place.and_then(|place| ran.get(place)).map_or("a case", String::as_str)
    };
    let whose = match owner {
        Owner::Case(number) => format!("by {}", name(number)),
        Owner::After(number) => format!("after {}", name(number)),
        Owner::Nobody => "before any case".into(),
    };
    Complaint { name: "kmemleak", line: format!("memory was lost {whose}: {what}") }
}

pub(super) fn word_of(end: &End) -> GuestEnd {
    match end {
        End::Clean { .. } => GuestEnd::Clean,
        End::BootFailed(_) => GuestEnd::BootFailed,
        End::Panicked(_) => GuestEnd::Panicked,
        End::Hung(_) => GuestEnd::Hung,
        End::Lost(_) => GuestEnd::Lost,
    }
}
