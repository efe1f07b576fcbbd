//! From a log and the end of a guest to a verdict for each unit test.

use std::collections::BTreeSet;
use std::time::Duration;

use uml_protocol::marker::Expectation;

use crate::guest::kernel_line::LogLine;
use crate::guest::machine::End;
use crate::guest::{Complaint, Gone};
use crate::suite::kunit::{KunitTest, Reached, Results};
use crate::suite::programs::Judgement;
use crate::suite::verdict::{Outcome, Place, Verdict};

/// What is known of a boot that ran tests of one suite.
#[derive(Debug)]
pub struct Evidence<'a> {
    pub results: Results,
    /// What its kernel complains of at each boot.
    pub known: &'a [Expectation],
    /// How the guest ended, if it did not come up.
    pub death: Option<&'a End>,
    /// What the kernel complained of besides, and what memory it lost.
    pub gone: &'a Gone,
    pub guest: &'a str,
    /// When it was switched on.
    pub began: Duration,
}

/// The judgement on a boot.
#[derive(Debug, Default)]
pub struct Judged {
    /// The tests that have a verdict.
    pub verdicts: Vec<(KunitTest, Verdict)>,
    /// Those that the guest did not live to run.
    pub unreached: Vec<KunitTest>,
    /// What the kernel complained of that is no test's fault.
    pub strays: Vec<Complaint>,
}

impl Evidence<'_> {
    /// Judges these of the tests of the suite.
    pub fn judge(self, tests: &[KunitTest]) -> Judged {
        let Self { results, known, death, gone, guest, began } = self;
        let Results { reached, rest, ended, begun, skipped, .. } = results;
        let (mut judged, mut charged) = (Judged::default(), BTreeSet::new());
        let mut charge = |lines: &[LogLine]| {
            let complaints = Complaint::of_lines(lines, known);
            charged.extend(complaints.iter().map(|complaint| complaint.line.clone()));
            complaints.into_iter().next()
        };
        let mut leaks: Vec<&str> = gone.leaks.iter().map(|(_, what)| what.as_str()).collect();
        let is_wanted = |name: &str| tests.iter().find(|test| test.test == name).cloned();
        let (count, mut at) = (reached.len(), began);
        for (index, Reached { name, judgement, mut lines, took }) in reached.into_iter().enumerate()
        {
            if index + 1 == count && ended {
                // What the suite does when its tests are over.
                lines.extend(rest.iter().cloned());
            }
            let leak =
                leaks.iter().position(|what| has_word(what, &name)).map(|at| leaks.remove(at));
            let complaint = charge(&lines).or_else(|| leak.map(lost_memory));
            let outcome = match (complaint, judgement) {
                (Some(complaint), _) => Outcome::Kernel(complaint),
                (None, Judgement::Passed) => Outcome::Passed,
                (None, Judgement::Failed(why)) => Outcome::Failed(why),
                (None, Judgement::Skipped(why)) => Outcome::Skipped(why),
            };
            let place = place(guest, index, at);
            at += took;
            if let Some(test) = is_wanted(&name) {
                judged.verdicts.push((test, verdict(outcome, took, &lines, place)));
            }
        }
        let left = tests.iter().filter(|test| !judged.has(test)).cloned().collect::<Vec<_>>();
        let complaint = charge(&rest);
        for test in left {
            let is_alone = tests.len() == 1;
            let outcome = match death.filter(|_| !ended) {
                Some(_) if !(is_alone || test.order == count) => {
                    judged.unreached.push(test);
                    continue;
                }
                Some(end) => of_death(end, complaint.clone()),
                None if begun => Outcome::Failed("its suite ended without it".into()),
                None => match &skipped {
                    Some(why) => Outcome::Skipped(why.clone()),
                    None => Outcome::Failed("its kernel ran no such suite".into()),
                },
            };
            let place = place(guest, count, at);
            judged.verdicts.push((test, verdict(outcome, Duration::ZERO, &rest, place)));
        }
        let strays = gone.strays.iter().filter(|stray| !charged.contains(&stray.line)).cloned();
        judged.strays = strays.chain(leaks.into_iter().map(lost_memory)).collect();
        judged
    }
}

impl Judged {
    fn has(&self, test: &KunitTest) -> bool {
        self.verdicts.iter().any(|(judged, _)| judged == test)
    }
}

fn place(guest: &str, index: usize, began: Duration) -> Place {
    let order = u32::try_from(index + 1).unwrap_or(u32::MAX);
    Place { guest: guest.into(), order, began }
}

fn verdict(outcome: Outcome, duration: Duration, lines: &[LogLine], place: Place) -> Verdict {
    let log = lines.iter().map(ToString::to_string).collect();
    Verdict { outcome, duration, log, place: Some(place), ..Verdict::not_run("") }
}

/// The outcome of the test that ran when the guest ended.
fn of_death(end: &End, complaint: Option<Complaint>) -> Outcome {
    let end = match end {
        End::BootFailed(end) => &**end,
        end => end,
    };
    match (end, complaint) {
        // The time of its boot was over.
        (End::Hung(_), None) => Outcome::TimedOut,
        (end, complaint) => Outcome::Died { end: end.clone(), complaint },
    }
}

fn lost_memory(what: &str) -> Complaint {
    Complaint { name: "kmemleak", line: format!("memory was lost: {what}") }
}

/// Returns true if a text has this word, which may be a function's name.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|part| part == word)
}
