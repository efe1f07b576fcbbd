//! The Test Anything Protocol, and KTAP, which is of its kind (Documentation/dev-tools/ktap.rst).

/// What a program's lines say. Those of nested tests count for nothing: the line of the test that they are in says how that
/// ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tap {
    /// The number of results that were announced.
    plan: Option<usize>,
    /// The reason that stands at a plan of none.
    skipped_all: Option<String>,
    passed: usize,
    /// The reasons of those that were skipped.
    skipped: Vec<String>,
    /// Those that failed, as their lines say it.
    failed: Vec<String>,
    /// The sums of kselftest's lines of totals: of all tests, and of those that failed.
    totals: (usize, usize),
    /// Why it gave up.
    bailed_out: Option<String>,
}

impl Tap {
    pub fn read(text: &str) -> Self {
        let mut tap = Self::default();
        for line in text.lines() {
            tap.take(line.trim_end());
        }
        tap
    }

    fn take(&mut self, line: &str) {
        if let Some(why) = line.strip_prefix("Bail out!") {
            self.bailed_out = Some(why.trim().into());
        } else if let Some(totals) = line.strip_prefix("# Totals: ") {
            for (name, count) in totals.split(' ').filter_map(|part| part.split_once(':')) {
                let count = count.parse().unwrap_or(0);
                self.totals.0 += count;
                self.totals.1 += if ["fail", "error"].contains(&name) { count } else { 0 };
            }
        } else if let Some(plan) = line.strip_prefix("1..") {
            let (count, rest) = plan.split_once(' ').unwrap_or((plan, ""));
            if let Ok(count) = count.parse::<usize>() {
                // A script may run several programs, each with its plan.
                self.plan = Some(self.plan.unwrap_or(0) + count);
                self.skipped_all = directive(rest, "SKIP").filter(|_| count == 0);
            }
        } else if let Some(rest) = result(line, "not ok") {
            // What is to be done still, and what cannot be, is no failure.
            match directive(rest, "SKIP") {
                Some(why) => self.skipped.push(why),
                None if ["TODO", "XFAIL"].iter().any(|word| directive(rest, word).is_some()) => {
                    self.passed += 1;
                }
                None => self.failed.push(rest.trim().into()),
            }
        } else if let Some(rest) = result(line, "ok") {
            match directive(rest, "SKIP") {
                Some(why) => self.skipped.push(why),
                None => self.passed += 1,
            }
        }
    }

    fn count(&self) -> usize {
        self.passed + self.skipped.len() + self.failed.len()
    }

    /// Returns true if there is no result, and none was announced.
    pub fn is_silent(&self) -> bool {
        self.count() == 0 && self.plan.is_none() && self.bailed_out.is_none()
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<String> {
        let count = self.count();
        if let Some(why) = &self.bailed_out {
            return Some(format!("it gave up: {why}"));
        }
        if let Some(first) = self.failed.first() {
            return Some(match self.failed.len() {
                1 => format!("not ok {first}; {count} results"),
                failed => format!("not ok {first}, and {} more; {count} results", failed - 1),
            });
        }
        let (of_totals, failed) = self.totals;
        if failed > 0 {
            return Some(format!("its totals say that {failed} of {of_totals} tests failed"));
        }
        // Some only count.
        match self.plan {
            Some(plan) if plan != count && plan != of_totals => {
                Some(format!("{plan} results were announced, and {count} came"))
            }
            _ => None,
        }
    }

    /// Why nothing of it was done, if that is so.
    pub fn skip(&self) -> Option<String> {
        let first = || self.skipped.first().filter(|_| self.passed + self.failed.len() == 0);
        self.skipped_all.as_ref().or_else(first).cloned()
    }
}

/// What follows a result's word.
fn result<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.strip_prefix(word).filter(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// The text after a directive, if there is one of that name.
fn directive(text: &str, name: &str) -> Option<String> {
    let after = text.rsplit_once('#')?.1.trim_start();
    let is_it = after.get(..name.len()).is_some_and(|word| word.eq_ignore_ascii_case(name));
    // Some write SKIPPED, some a colon.
    let rest = after.get(name.len()..).unwrap_or_default();
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_uppercase() || c == ':');
    is_it.then(|| rest.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> Option<String> {
        Tap::read(text).failure()
    }

    #[test]
    fn what_passes_is_all_that_was_announced() {
        for passed in [
            "TAP version 13\n1..2\nok 1 - a\nok 2 b # of 3\n",
            "ok\nok\n1..2\n",
            "KTAP version 1\n1..1\n    1..2\n    ok 1 x\n    not ok 2 y # TODO later\nok 1 z\n",
            "1..2\nok 1\nok 2 # SKIP no such device\n# Totals: pass:1 fail:0\n",
            "1..1\nnot ok 1 a # TODO not yet\n",
            "1..1\nnot ok 1 a # XFAIL as ever\n",
            "1..1\r\nok 1 a\r\n",
            "1..1\nok 1 a\n1..2\nok 1 b\nok 2 c\n",
            "1..3\nPASS: 0 returned as expected\n# Totals: pass:3 fail:0 xfail:0 xpass:0 skip:0 error:0\n",
        ] {
            assert_eq!(failure(passed), None, "{passed}");
            assert_eq!(Tap::read(passed).skip(), None, "{passed}");
        }
    }

    #[test]
    fn what_fails_says_why() {
        for (failed, why) in [
            ("1..2\nok 1 a\nnot ok 2 b\n", "not ok 2 b; 2 results"),
            ("not ok\nnot ok 2 - b\nnot ok\n1..3", "not ok , and 2 more; 3 results"),
            ("1..3\nok 1\nok 2\n", "3 results were announced, and 2 came"),
            ("1..1\nok 1\nok 2\n", "1 results were announced, and 2 came"),
            ("1..2\nok 1\nBail out! no memory\n", "it gave up: no memory"),
            ("1..2\nok 1\nokay 2\n", "2 results were announced, and 1 came"),
            (
                "1..3\n# Totals: pass:0 fail:2 xfail:0 xpass:0 skip:0 error:1\n",
                "its totals say that 3 of 3 tests failed",
            ),
            (
                "1..4\nok 1\n# Totals: pass:1 fail:0 xfail:0 xpass:0 skip:0 error:0\n",
                "4 results were announced, and 1 came",
            ),
            ("1..1\nnot ok 1 a # SKIPPY\nok 2", "1 results were announced, and 2 came"),
        ] {
            assert_eq!(failure(failed).as_deref(), Some(why), "{failed}");
        }
    }

    #[test]
    fn what_is_skipped_says_why() {
        for (skipped, why) in [
            ("1..0 # SKIP no such device\n", "no such device"),
            ("1..0 # Skipped: no such device\n", "no such device"),
            ("1..2\nok 1 a # SKIP one\nok 2 b # skip two\n", "one"),
        ] {
            let tap = Tap::read(skipped);
            let said = tap.skip().unwrap();
            assert!(said.ends_with(why), "{skipped}: {said}");
            assert_eq!(tap.failure(), None);
        }
        assert!(Tap::read("hello\nokay\n1.. 2\n").is_silent());
        assert!(!Tap::read("1..0\n").is_silent());
    }
}
