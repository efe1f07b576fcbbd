//! libtest's word for a case: what it says of it in so many words. An exit code of 0 alone would call
//! a test green that called `exit(0)`, or whose name the binary does not know.

use serde::{Deserialize, Serialize};

/// Where libtest says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// In a file of its own (`--logfile PATH`), where nothing that a case prints comes between.
    LogFile,
    /// Among what the case prints, where the harness has no such file.
    Stdout,
    /// Nowhere: a program of its own, whose exit code says it.
    ExitCode,
}

/// What libtest writes to standard error where it gets a file for its word.
const DEPRECATION: &str = "warning: `--logfile` is deprecated";

impl Word {
    /// The better one of a harness that describes itself like this (`--help`). Others than libtest
    /// write their whole output to the file, and describe it in another form.
    pub fn in_help(help: &str) -> Self {
        let libtests = help.lines().any(|line| line.trim_start().starts_with("--logfile PATH "));
        if libtests { Word::LogFile } else { Word::Stdout }
    }
}

/// What libtest's own file says of the one case that it was asked to run.
///
/// # Errors
/// When that is not that it passed: why not.
pub fn judge_log(log: &str, case: &str) -> Result<(), String> {
    let Some(line) = log.strip_suffix('\n').filter(|log| !log.is_empty()) else {
        return Err(NOT_OVER.into());
    };
    // A name is no reason to look for the end of what stands before it: that may have spaces too.
    match line.strip_suffix(case).and_then(|before| before.strip_suffix(' ')) {
        Some("ok") => Ok(()),
        Some(other) => Err(format!("it exited with 0, and libtest says that it is `{other}`")),
        None => Err(format!("libtest speaks of another case: `{line}`")),
    }
}

const NOT_OVER: &str = "it exited with 0 before its test was over";

/// What libtest says of the one case that it was asked to run among what the case printed; `listed`
/// is how many cases and benchmarks its binary lists.
///
/// # Errors
/// When that is not that it passed: why not.
pub fn judge_stdout(stdout: &str, listed: usize) -> Result<(), String> {
    let others = listed.saturating_sub(1);
    // What the case printed last may lack the end of its line, and others may write after it.
    let passed = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; ";
    let passed = format!("{passed}{others} filtered out");
    let mut words = stdout.match_indices("test result: ");
    match (words.next(), words.next()) {
        (Some((at, _)), None) => match stdout[at..].strip_prefix(&passed) {
            Some(rest) if rest.starts_with([';', '\n', '\r']) || rest.is_empty() => Ok(()),
            _ => {
                let line = stdout[at..].lines().next().unwrap_or_default();
                Err(format!("it exited with 0, and libtest says `{line}`"))
            }
        },
        (None, _) => Err(NOT_OVER.into()),
        (Some(_), Some(_)) => {
            Err("it exited with 0, and its output has more than one result of libtest's".into())
        }
    }
}

/// Takes away from what a case wrote what libtest says there of our own asking for a file.
pub fn drop_deprecation(output: &mut Vec<u8>) {
    let wanted = DEPRECATION.as_bytes();
    if let Some(at) = output.windows(wanted.len()).position(|window| window == wanted) {
        // libtest writes no end of the line.
        output.drain(at..at + wanted.len());
        if output.get(at) == Some(&b'\n') {
            output.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use super::*;

    #[test]
    fn a_file_of_libtests_is_judged() {
        assert_eq!(judge_log("ok area::case\n", "area::case"), Ok(()));
        for (log, why) in [
            ("", "before its test was over"),
            ("ok area::case", "before its test was over"),
            ("\n", "before its test was over"),
            ("failed area::case\n", "`failed`"),
            ("failed: a reason area::case\n", "`failed: a reason`"),
            ("ignored: ok area::case\n", "`ignored: ok`"),
            ("ok case\n", "another case"),
            ("ok area::case\nok area::case\n", "says that it is `ok area::case\nok`"),
            ("ok area::case2\n", "another case"),
            ("okarea::case\n", "another case"),
        ] {
            let said = judge_log(log, "area::case").unwrap_err();
            assert!(said.contains(why), "{log:?}: {said}");
        }
    }

    #[test]
    fn standard_output_is_judged() {
        let word = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out";
        for passed in [
            format!("\nrunning 1 test\ntest a ... ok\n\n{word}; finished in 0.00s\n\n"),
            format!("{word}\n"),
            format!("no end of a line{word}; finished in 0.00s\n"),
            format!("{word}; finished in 0.00s\n\n{}", "a daemon that still writes\n".repeat(1000)),
        ] {
            assert_eq!(judge_stdout(&passed, 3), Ok(()), "{passed}");
        }
        for (wrong, why) in [
            (String::new(), "before its test was over"),
            (format!("{word}; finished"), "libtest says"),
            (format!("{word}0; finished"), "libtest says"),
            (word.replace("1 passed", "0 passed"), "libtest says"),
            (word.replace("ok. 1 passed; 0 failed", "FAILED. 0 passed; 1 failed"), "libtest says"),
            (format!("{word}\n{word}\n"), "more than one"),
        ] {
            let listed = if wrong == format!("{word}; finished") { 4 } else { 3 };
            let said = judge_stdout(&wrong, listed).unwrap_err();
            assert!(said.contains(why), "{wrong:?}: {said}");
        }
    }

    const OWN: &str = "suite::word::tests::a_case_of_our_own";
    const FAILS: &str = "HAVE_A_CASE_OF_OUR_OWN_FAIL";

    #[test]
    #[ignore = "run by the test below"]
    fn a_case_of_our_own() {
        println!("ok {OWN}");
        eprintln!("to standard error");
        assert!(std::env::var_os(FAILS).is_none());
    }

    /// This very binary.
    fn libtest() -> Command {
        Command::new(std::env::current_exe().unwrap())
    }

    /// Runs a case of it as a guest would, and says what libtest's file has.
    fn run(case: &str, ignored: &[&str], env: &[(&str, &str)]) -> (Output, String) {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut command = libtest();
        command.args([case, "--exact", "--nocapture", "--test-threads=1"]).args(ignored);
        command.arg("--logfile").arg(&log).envs(env.iter().copied());
        (command.output().unwrap(), std::fs::read_to_string(log).unwrap())
    }

    #[test]
    fn this_toolchains_libtest_is_understood() {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let help = text(&libtest().arg("--help").output().unwrap().stdout);
        assert_eq!(Word::in_help(&help), Word::LogFile);
        let of_libtest_mimic = "      --logfile <PATH>\n          Write logs to the file";
        assert_eq!(Word::in_help(of_libtest_mimic), Word::Stdout);

        let list = libtest().args(["--list", "--format", "terse"]).output().unwrap();
        let listed = text(&list.stdout).lines().count();
        let (passed, log) = run(OWN, &["--ignored"], &[]);
        assert_eq!(judge_log(&log, OWN), Ok(()));
        assert_eq!(judge_stdout(&text(&passed.stdout), listed), Ok(()));
        let mut stderr = passed.stderr.clone();
        drop_deprecation(&mut stderr);
        assert_eq!(text(&stderr), "to standard error\n");

        let (failed, log) = run(OWN, &["--ignored"], &[(FAILS, "1")]);
        assert!(judge_log(&log, OWN).unwrap_err().contains("`failed`"), "{log}");
        assert!(judge_stdout(&text(&failed.stdout), listed).unwrap_err().contains("FAILED"));
        let (left_out, log) = run(OWN, &[], &[]);
        assert!(judge_log(&log, OWN).unwrap_err().contains("`ignored: run by"), "{log}");
        assert!(judge_stdout(&text(&left_out.stdout), listed).is_err());
        let (none, log) = run("no_such_case", &[], &[]);
        assert!(none.status.success());
        assert!(judge_log(&log, OWN).unwrap_err().contains("before its test was over"));
        assert!(judge_stdout(&text(&none.stdout), listed).is_err());
    }
}

#[cfg(test)]
mod fuzz {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    proptest! {
        #[test]
        fn only_one_line_means_that_a_case_passed(words in vec(select(&[
            "ok", "failed", " ", "\n", "case", "a::case", "ignored: ", "ok case\n", "ok case",
        ][..]), 0..8)) {
            let log = words.concat();
            prop_assert_eq!(judge_log(&log, "case").is_ok(), log == "ok case\n", "{:?}", log);
        }

        #[test]
        fn nothing_makes_the_judge_of_output_panic(words in vec(select(&[
            "test result: ", "ok. 1 passed; ", "0 failed; 0 ignored; 0 measured; ", "2 filtered out", "ä", "\n", ";",
        ][..]), 0..12), listed in 0_usize..4) {
            let text = words.concat();
            let _ = judge_stdout(&text, listed);
            drop_deprecation(&mut text.clone().into_bytes());
        }
    }
}
