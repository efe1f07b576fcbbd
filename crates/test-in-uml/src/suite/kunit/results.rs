//! What a kernel's log says of the unit tests of one suite (Documentation/dev-tools/ktap.rst).

use std::time::Duration;

use crate::guest::kernel_line::LogLine;
use crate::suite::kunit::Names;
use crate::suite::programs::Judgement;

/// How far the lines of a suite's tests are indented.
const INDENT: &str = "    ";

/// A test that the log has the end of.
#[derive(Debug)]
pub struct Reached {
    /// Its name in the suite.
    pub name: String,
    /// How it ended, by its own word.
    pub judgement: Judgement,
    /// What was said since the test before it ended.
    pub lines: Vec<LogLine>,
    /// The time from then on.
    pub took: Duration,
}

/// What a log says of a suite's tests.
#[derive(Debug, Default)]
pub struct Results {
    /// The boot before the suite, and after it.
    pub around: Vec<LogLine>,
    /// Those that ended, in their order.
    pub reached: Vec<Reached>,
    /// What came after the last of them, as long as the suite went on.
    pub rest: Vec<LogLine>,
    /// True if the suite began.
    pub begun: bool,
    /// True if it ended.
    pub ended: bool,
    /// Why none of it was run, if it says so.
    pub skipped: Option<String>,
}

impl Results {
    /// Reads the log of a boot that ran tests of this suite alone.
    pub fn read(log: Vec<LogLine>, suite: &str) -> Self {
        let (mut results, mut since, mut names) = (Self::default(), 0, Names::default());
        for line in log {
            let stamp = line.stamp.unwrap_or(since);
            if !results.begun || results.ended {
                let title = line
                    .text
                    .strip_prefix(INDENT)
                    .and_then(|rest| rest.strip_prefix("# Subtest: "));
                results.begun |= title == Some(suite);
                if let Some((name, Said::Skip(why))) = result(&line.text)
                    && name == suite
                {
                    results.skipped = Some(why.into());
                }
                since = stamp;
                results.around.push(line);
            } else if let Some((name, said)) = line.text.strip_prefix(INDENT).and_then(result) {
                let took = Duration::from_micros(stamp.saturating_sub(since));
                since = stamp;
                let own_name = name;
                let (name, mut lines) = (names.next(name), std::mem::take(&mut results.rest));
                let judgement = said.judgement(own_name, &lines);
                lines.push(line);
                results.reached.push(Reached { name, judgement, lines, took });
            } else if result(&line.text).is_some_and(|(name, _)| name == suite) {
                results.ended = true;
                results.rest.push(line);
            } else {
                results.rest.push(line);
            }
        }
        results
    }
}

/// What a result's line says.
enum Said<'a> {
    Ok,
    NotOk,
    Skip(&'a str),
}

impl Said<'_> {
    fn judgement(self, name: &str, lines: &[LogLine]) -> Judgement {
        match self {
            Said::Ok => Judgement::Passed,
            Said::Skip("") => Judgement::Skipped("it does not say why".into()),
            Said::Skip(why) => Judgement::Skipped(why.into()),
            Said::NotOk => Judgement::Failed(failure(name, lines)),
        }
    }
}

/// `ok 1 NAME`, `not ok 2 NAME`, `ok 3 NAME # SKIP why`.
fn result(line: &str) -> Option<(&str, Said<'_>)> {
    let (is_ok, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let (number, rest) = rest.split_once(' ')?;
    number.parse::<u32>().ok()?;
    let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
    let name = name.trim_start_matches("- ").trim_end();
    let said = match (directive.strip_prefix("SKIP"), is_ok) {
        (Some(why), _) => Said::Skip(why.trim()),
        (None, true) => Said::Ok,
        (None, false) => Said::NotOk,
    };
    Some((name, said))
}

/// What a test says that failed: where, and what was expected (`kunit_fail()` in lib/kunit/test.c).
fn failure(name: &str, lines: &[LogLine]) -> String {
    let said = |text: &str| {
        let rest = text.trim_start().strip_prefix("# ")?.strip_prefix(name)?.strip_prefix(": ")?;
        let is_failed =
            ["EXPECTATION FAILED", "ASSERTION FAILED"].iter().any(|word| rest.starts_with(word));
        is_failed.then(|| rest.to_owned())
    };
    let mut texts = lines.iter().map(|line| line.text.as_str());
    let Some(mut why) = texts.find_map(said) else {
        return "it says that it failed, and not why".into();
    };
    // The next line says what was expected.
    if let Some(expected) = texts.next().map(str::trim).filter(|text| text.starts_with("Expected "))
    {
        why += ": ";
        why += expected;
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<LogLine> {
        text.lines().map(LogLine::of_boot).collect()
    }

    const LOG: &str = "\
[    0.010000] Linux version 6.12
[    0.100000] KTAP version 1
[    0.100000] 1..1
[    0.100000]     KTAP version 1
[    0.100000]     # Subtest: example
[    0.100000]     # module: kunit_example_test
[    0.100000]     1..4
[    0.110000]     # simple: initializing
[    0.150000]     ok 1 simple
[    0.150000]     # wrong: EXPECTATION FAILED at lib/x.c:40
[    0.150000]     Expected 1 + 1 == 3, but
[    0.150000]         1 + 1 == 2 (0x2)
[    0.160000]     not ok 2 wrong
[    0.160000]         KTAP version 1
[    0.160000]         # Subtest: params
[    0.160000]         ok 1 value 3
[    0.160000]         not ok 2 value 2
[    0.160000]     # params: pass:1 fail:1 skip:0 total:2
[    0.170000]     not ok 3 params
[    0.180000]     ok 4 later # SKIP this test should be skipped
[    0.180000] # example: pass:1 fail:2 skip:1 total:4
[    0.180000] not ok 1 example
[    0.200000] VFS: Mounted root
";

    #[test]
    fn a_test_has_what_was_said_since_the_one_before_it() {
        let results = Results::read(lines(LOG), "example");
        assert!(results.begun && results.ended);
        let reached: Vec<_> = results
            .reached
            .iter()
            .map(|test| (&*test.name, &test.judgement, test.lines.len(), test.took.as_millis()))
            .collect();
        let skipped = Judgement::Skipped("this test should be skipped".into());
        let wrong = "EXPECTATION FAILED at lib/x.c:40: Expected 1 + 1 == 3, but";
        assert_eq!(
            reached,
            [
                ("simple", &Judgement::Passed, 4, 50),
                ("wrong", &Judgement::Failed(wrong.into()), 4, 10),
                ("params", &Judgement::Failed("it says that it failed, and not why".into()), 6, 10),
                ("later", &skipped, 1, 10),
            ]
        );
        assert_eq!(results.around.len(), 6);
    }

    #[test]
    fn of_what_is_cut_off_the_last_is_known() {
        let cut = LOG.find("[    0.160000]     ok 2").unwrap_or(LOG.find("not ok 2").unwrap());
        let results = Results::read(lines(&LOG[..cut]), "example");
        assert!(results.begun && !results.ended);
        assert_eq!(results.reached.len(), 1);
        assert!(results.rest.iter().any(|line| line.text.contains("EXPECTATION FAILED")));
        let before = Results::read(lines(&LOG[..80]), "example");
        assert!(!before.begun && before.reached.is_empty());
    }

    #[test]
    fn a_suite_may_be_skipped_as_a_whole_and_have_two_tests_of_one_name() {
        let skipped = Results::read(lines("1..1\nok 1 s # SKIP not here\n"), "s");
        assert_eq!((skipped.begun, skipped.skipped.as_deref()), (false, Some("not here")));
        let text = "    # Subtest: s\n    ok 1 a\n    not ok 2 a\nnot ok 1 s\n";
        let names: Vec<_> =
            Results::read(lines(text), "s").reached.into_iter().map(|test| test.name).collect();
        assert_eq!(names, ["a", "a#2"]);
    }

    #[test]
    fn a_suite_of_another_name_is_none() {
        assert!(!Results::read(lines(LOG), "exam").begun);
    }
}
