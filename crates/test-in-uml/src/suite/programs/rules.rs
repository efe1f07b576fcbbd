//! How a program's end is understood.

use super::tap::Tap;
use crate::config::ResultBy;

/// How the programs of a suite say how they ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    by: ResultBy,
    skip_codes: Vec<i32>,
    /// True if one has passed that goes on until its time is over.
    pub lasts: bool,
}

/// What a program wrote.
#[derive(Debug, Clone, Copy)]
pub struct Wrote<'a> {
    /// On standard output.
    pub stdout: &'a str,
    /// On both, as it came.
    pub both: &'a str,
    /// False if there was more than is kept.
    pub is_whole: bool,
}

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It did what it was to do.
    Passed,
    /// It cannot do it here: why.
    Skipped(String),
    /// It failed: why.
    Failed(String),
}

/// The bits of an exit code of LTP's (include/tst_res_flags.h).
const TCONF: i32 = 32;
const LTP: [(i32, &str); 3] = [(1, "TFAIL"), (2, "TBROK"), (4, "TWARN")];

/// The exit code of an expected failure (tools/testing/selftests/kselftest.h).
const KSFT_XFAIL: i32 = 2;

impl Rules {
    /// The rules of this kind; other exit codes mean a skip where some are given.
    pub fn new(by: ResultBy, skip_codes: Option<Vec<i32>>) -> Self {
        let usual = || match by {
            ResultBy::ExitCode | ResultBy::Tap => vec![77],
            ResultBy::Kselftest => vec![4],
            ResultBy::Ltp => vec![TCONF],
        };
        Self { by, skip_codes: skip_codes.unwrap_or_else(usual), lasts: false }
    }

    /// Judges the end of one that exited with this code.
    pub fn judge(&self, code: i32, wrote: &Wrote<'_>) -> Judgement {
        let tap = match self.by {
            ResultBy::Tap | ResultBy::Kselftest => Tap::read(wrote.stdout),
            ResultBy::ExitCode | ResultBy::Ltp => Tap::default(),
        };
        if self.skip_codes.contains(&code) {
            return Judgement::Skipped(tap.skip().unwrap_or_else(|| self.reason(wrote)));
        }
        let failure = match (self.by, code) {
            (ResultBy::Kselftest, KSFT_XFAIL) => None,
            (_, 0) if self.by == ResultBy::Tap && tap.is_silent() => {
                Some("it exited with 0, and wrote no result".into())
            }
            (_, 0) => tap.failure().map(|why| format!("it exited with 0, and said: {why}")),
            (ResultBy::Ltp, code) if code & 7 != 0 => {
                let words = LTP.iter().filter(|(bit, _)| code & bit != 0).map(|(_, word)| *word);
                let words: Vec<&str> = words.collect();
                Some(format!("{} (exit code {code})", words.join(" ")))
            }
            (_, code) => {
                let said = tap.failure().map(|why| format!(": {why}"));
                Some(format!("exit code {code}{}", said.unwrap_or_default()))
            }
        };
        match (failure, tap.skip()) {
            (Some(why), _) => Judgement::Failed(why),
            (None, _) if self.by == ResultBy::Tap && !wrote.is_whole => Judgement::Failed(
                "it wrote more than is kept: what it said of its tests is not all known".into(),
            ),
            (None, Some(why)) => Judgement::Skipped(why),
            (None, None) => Judgement::Passed,
        }
    }

    /// Why one was skipped, as it said it.
    fn reason(&self, wrote: &Wrote<'_>) -> String {
        let mut lines = wrote.both.lines().rev().map(str::trim).filter(|line| !line.is_empty());
        let said = match self.by {
            ResultBy::Ltp => lines.find_map(|line| line.split_once("TCONF: ").map(|(_, why)| why)),
            _ => lines.next(),
        };
        said.map_or("it does not say why".into(), |line| line.trim_start_matches("# ").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(by: ResultBy, code: i32, text: &str) -> Judgement {
        let wrote = Wrote { stdout: text, both: text, is_whole: true };
        Rules::new(by, None).judge(code, &wrote)
    }

    fn failed(why: &str) -> Judgement {
        Judgement::Failed(why.into())
    }

    fn skipped(why: &str) -> Judgement {
        Judgement::Skipped(why.into())
    }

    #[test]
    fn exit_codes_mean_what_their_suites_say() {
        use ResultBy::{ExitCode, Kselftest, Ltp};
        let text = "one\nno such device\n\n";
        for (by, code, judgement) in [
            (ExitCode, 0, Judgement::Passed),
            (ExitCode, 77, skipped("no such device")),
            (ExitCode, 1, failed("exit code 1")),
            (ExitCode, 4, failed("exit code 4")),
            (Kselftest, 0, Judgement::Passed),
            (Kselftest, 1, failed("exit code 1")),
            (Kselftest, 2, Judgement::Passed),
            (Kselftest, 3, failed("exit code 3")),
            (Kselftest, 4, skipped("no such device")),
            (Ltp, 0, Judgement::Passed),
            (Ltp, 32, skipped("it does not say why")),
            (Ltp, 33, failed("TFAIL (exit code 33)")),
            (Ltp, 6, failed("TBROK TWARN (exit code 6)")),
            (Ltp, 8, failed("exit code 8")),
        ] {
            assert_eq!(judge(by, code, text), judgement, "{by:?} {code}");
        }
        let conf = "tst_test.c:1: TINFO: hello\nuser.c:9: TCONF: no userfaultfd\nSummary:\n";
        assert_eq!(judge(Ltp, 32, conf), skipped("no userfaultfd"));
        let rules = Rules::new(ExitCode, Some(vec![3]));
        let wrote = Wrote { stdout: "", both: "", is_whole: true };
        assert_eq!(rules.judge(3, &wrote), skipped("it does not say why"));
        assert_eq!(rules.judge(77, &wrote), failed("exit code 77"));
    }

    #[test]
    fn lines_and_exit_code_have_to_agree() {
        use ResultBy::{Kselftest, Tap};
        for by in [Tap, Kselftest] {
            assert_eq!(judge(by, 0, "1..1\nok 1\n"), Judgement::Passed);
            assert_eq!(
                judge(by, 0, "1..1\nnot ok 1 a\n"),
                failed("it exited with 0, and said: not ok 1 a; 1 results")
            );
            assert_eq!(judge(by, 1, "1..1\nok 1\n"), failed("exit code 1"));
            assert_eq!(
                judge(by, 1, "1..2\nok 1\n"),
                failed("exit code 1: 2 results were announced, and 1 came")
            );
            assert_eq!(judge(by, 0, "1..0 # SKIP none\n"), skipped("none"));
        }
        assert_eq!(judge(Tap, 0, "hello\n"), failed("it exited with 0, and wrote no result"));
        assert_eq!(judge(Kselftest, 0, "hello\n"), Judgement::Passed);
        assert_eq!(judge(Kselftest, 4, "1..1\nok 1 a # SKIP not here\n"), skipped("not here"));
    }

    #[test]
    fn what_is_not_all_there_is_not_green() {
        let wrote = Wrote { stdout: "1..1\nok 1\n", both: "", is_whole: false };
        let judgement = Rules::new(ResultBy::Tap, None).judge(0, &wrote);
        assert!(matches!(judgement, Judgement::Failed(why) if why.contains("more than is kept")));
        let quiet = Wrote { stdout: "", both: "", is_whole: false };
        assert_eq!(Rules::new(ResultBy::ExitCode, None).judge(0, &quiet), Judgement::Passed);
    }
}
