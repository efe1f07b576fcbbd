//! What an earlier run says is to be run again.

use anyhow::{Context as _, Result, ensure};

use super::RunReport;
use crate::suite::Case;

/// Cases on a kernel, by the names that the report has for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// The kernel's name.
    pub kernel: String,
    /// The full names of the cases, in their order.
    pub cases: Vec<String>,
}

impl Again {
    /// Those of `all` that are meant, and the names of those that are no more.
    pub fn among(&self, all: &[Case]) -> (Vec<Case>, Vec<String>) {
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        for name in &self.cases {
            match all.iter().find(|case| case.name().to_string() == *name) {
                Some(case) => found.push(case.clone()),
                None => gone.push(name.clone()),
            }
        }
        (found, gone)
    }
}

/// What failed in a run, on each kernel; each case once.
pub fn failed_in(report: &RunReport) -> Vec<Again> {
    let mut lanes: Vec<Again> = Vec::new();
    for case in report.cases.iter().filter(|case| case.end().is_failure()) {
        let (kernel, name) = (&case.id.kernel, format!("{} {}", case.id.binary, case.id.name));
        match lanes.iter_mut().find(|lane| lane.kernel == *kernel) {
            Some(lane) if lane.cases.contains(&name) => {}
            Some(lane) => lane.cases.push(name),
            None => lanes.push(Again { kernel: kernel.clone(), cases: vec![name] }),
        }
    }
    lanes
}

/// All that the guest of a case ran, up to that case; of several that are called so, one that failed
/// is meant. `name` is `BINARY NAME`, with or without the kernel before it.
///
/// # Errors
/// When the run has no such case, or it was not begun.
pub fn sequence_of(report: &RunReport, name: &str) -> Result<Again> {
    let named = report.cases.iter().filter(|case| {
        let full = format!("{} {} {}", case.id.kernel, case.id.binary, case.id.name);
        full == name || full.split_once(' ').is_some_and(|(_, short)| short == name)
    });
    let attempts: Vec<_> =
        named.flat_map(|case| case.attempts.iter().map(move |attempt| (case, attempt))).collect();
    ensure!(!attempts.is_empty(), "run {} has no case `{name}`: write BINARY NAME", report.run.id);
    let (case, meant) = attempts
        .iter()
        .find(|(_, attempt)| attempt.end.is_failure())
        .or_else(|| attempts.iter().find(|(_, attempt)| attempt.guest.is_some()))
        .context("it was not begun in that run")?;
    let guest = meant.guest.as_deref().context("no guest began it in that run")?;
    let last = meant.order.context("that run did not record the order of its cases")?;
    let mut before: Vec<(u32, String)> = Vec::new();
    for other in &report.cases {
        for attempt in &other.attempts {
            let order = attempt.order.filter(|order| *order <= last);
            if let Some(order) = order.filter(|_| attempt.guest.as_deref() == Some(guest)) {
                before.push((order, format!("{} {}", other.id.binary, other.id.name)));
            }
        }
    }
    before.sort();
    let cases = before.into_iter().map(|(_, name)| name).collect();
    Ok(Again { kernel: case.id.kernel.clone(), cases })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{case, sample};

    fn names(again: &Again) -> Vec<&str> {
        again.cases.iter().map(String::as_str).collect()
    }

    #[test]
    fn what_failed_is_named_once_on_each_kernel() {
        let run = sample(&[
            case("3.0", "ext4", "a", "panicked"),
            case("6.12", "ext4", "a", "passed"),
            case("6.12", "ext4", "b", "failed").with("repeat", 1),
            case("6.12", "ext4", "b", "failed").with("repeat", 2),
            case("6.12", "ext4", "c", "failed").with("attempt", 1),
            case("6.12", "ext4", "c", "passed").with("attempt", 2),
            case("6.12", "ext4", "d", "not-run"),
        ]);
        let failed = failed_in(&run.report);
        let lane =
            |kernel: &str, case: &str| Again { kernel: kernel.into(), cases: vec![case.into()] };
        assert_eq!(failed, [lane("3.0", "ext4 a"), lane("6.12", "ext4 b")]);
    }

    #[test]
    fn a_sequence_is_that_of_the_guest_up_to_the_failure() {
        let ran = |name: &str, end: &str, guest: &str, order: u32| {
            case("6.12", "ext4", name, end).with("guest", guest).with("order", order)
        };
        let run = sample(&[
            ran("b", "passed", "g1", 2),
            ran("a", "passed", "g1", 1),
            ran("elsewhere", "passed", "g2", 1),
            ran("c", "failed", "g1", 3),
            ran("d", "passed", "g1", 4),
            ran("c", "passed", "g3", 1).with("attempt", 2),
        ]);
        for name in ["ext4 c", "6.12 ext4 c"] {
            let again = sequence_of(&run.report, name).unwrap();
            assert_eq!(names(&again), ["ext4 a", "ext4 b", "ext4 c"], "{name}");
            assert_eq!(again.kernel, "6.12");
        }
        let error = sequence_of(&run.report, "ext4 nothing").unwrap_err().to_string();
        assert!(error.contains("ext4 nothing"), "{error}");
    }

    #[test]
    fn what_was_not_begun_has_no_sequence() {
        let run = sample(&[case("6.12", "ext4", "a", "not-run").with("guest", None::<String>)]);
        assert!(sequence_of(&run.report, "ext4 a").is_err());
    }
}
