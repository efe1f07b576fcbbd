//! A verdict as it is kept.

use std::time::Duration;

use uml_protocol::wire::Leftover;

use super::case_name::CaseName;
use super::verdict::Verdict;
use crate::record::{CaseEnd, CaseLine};
use crate::text::plain;

/// What is kept of a case whose attempt with this number, from 1, ended like this. The attempts before it failed.
pub(super) fn case_line(
    kernel: &str,
    CaseName { binary, name }: CaseName,
    repetition: u32,
    attempt: u32,
    started: Duration,
    verdict: Verdict,
) -> CaseLine {
    let (detail, end) = (verdict.detail(), verdict.outcome.end());
    let complaint = verdict.outcome.complaint().map(String::from);
    let order = verdict.place.as_ref().map(|place| place.order);
    let output = String::from_utf8(verdict.output)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    CaseLine {
        kernel: kernel.into(),
        guest: verdict.place.map(|place| place.guest),
        order,
        binary,
        name,
        repeat: Some(repetition),
        attempt: Some(attempt),
        flaky: attempt > 1 && end == CaseEnd::Passed,
        started: Some(started.as_secs_f64()),
        end,
        detail,
        complaint,
        seconds: verdict.duration.as_secs_f64(),
        output,
        kernel_log: verdict.log,
        left_behind: each_once(verdict.leftovers.iter().map(describe)),
        scenario: verdict.scenario,
    }
}

/// The texts, of which those that are the same are one with their number.
fn each_once(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut counted: Vec<(String, u32)> = Vec::new();
    for text in texts {
        match counted.iter_mut().find(|(other, _)| *other == text) {
            Some((_, count)) => *count += 1,
            None => counted.push((text, 1)),
        }
    }
    let worded = counted.into_iter().map(|(text, count)| match count {
        1 => text,
        count => format!("{text}, {count} times"),
    });
    worded.collect()
}

/// What a case left behind, in words.
fn describe(leftover: &Leftover) -> String {
    plain(&match leftover {
        Leftover::Process(command) => format!("process `{command}` (killed)"),
        Leftover::Stuck(command) => format!("process `{command}` (SIGKILL does not end it)"),
        Leftover::Mount(place) => format!("mount {place} (unmounted)"),
        Leftover::Clock(by) => format!("a clock that was set by {by} s (set back)"),
        Leftover::Module(name) => format!("module {name} (still loaded)"),
        Leftover::Unmounted(place) => format!("no mount on {place}"),
        Leftover::Space(place, bytes) => format!("{} MiB taken on {place}", bytes >> 20),
        Leftover::PackageFile(place) => format!("{place}, a file of the package (changed)"),
        Leftover::Setting(file) => format!("the setting {file} (written to)"),
        Leftover::Network(what) => format!("network: {what}"),
        Leftover::Program(place) => format!("another file than was sent at {place}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Outcome;
    use super::*;

    #[test]
    fn what_is_left_twice_is_told_once() {
        let texts = ["a", "b", "a"].map(String::from);
        assert_eq!(each_once(texts.into_iter()), ["a, 2 times", "b"]);
    }

    #[test]
    fn only_a_case_that_passed_after_it_had_failed_is_flaky() {
        let name = CaseName { binary: "ext4".into(), name: "acls".into() };
        for (outcome, attempt, flaky) in [
            (Outcome::Passed, 1, false),
            (Outcome::Passed, 2, true),
            (Outcome::Skipped("no loop".into()), 2, false),
            (Outcome::Failed("exit code 1".into()), 2, false),
        ] {
            let verdict = Verdict { outcome, ..Verdict::not_run("") };
            let line = case_line("6.12", name.clone(), 1, attempt, Duration::ZERO, verdict);
            assert_eq!(line.flaky, flaky, "{line:?}");
        }
    }
}
