//! What a case declares of its kernel is no failure.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use guest_tests::{TestResult, expect_death, expect_kernel};

/// Has the kernel log hold a line, as if the kernel had said it.
fn say(line: &str) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).open("/dev/kmsg")?.write_all(line.as_bytes())
}

#[test]
fn a_declared_complaint_is_no_failure() -> TestResult {
    expect_kernel("at declared.rs:1")?;
    say("WARNING: CPU: 0 PID: 1 at declared.rs:1 as declared\n")?;
    Ok(())
}

#[test]
fn a_declared_message_need_not_be_a_complaint() -> TestResult {
    expect_kernel("all is well")?;
    say("declared: all is well\n")?;
    Ok(())
}

#[test]
fn a_declared_death_is_no_failure() -> TestResult {
    expect_death("Kernel panic - not syncing")?;
    fs::write("/proc/sys/kernel/sysrq", "1")?;
    fs::write("/proc/sysrq-trigger", "c")?;
    std::thread::sleep(Duration::from_secs(3600));
    Ok(())
}

#[test]
fn what_cannot_be_found_in_a_line_is_refused() {
    for text in ["", " ", "blank ", "two\nlines", &"x".repeat(201)] {
        assert!(expect_kernel(text).is_err(), "{text:?}");
    }
}

/// The other side of the cases above: `cargo xtask ci` runs these and expects each to fail.
mod undeclared {
    use super::*;

    #[test]
    #[ignore = "fails on purpose"]
    fn a_complaint_fails_the_case() -> TestResult {
        say("WARNING: CPU: 0 PID: 1 at declared.rs:2 not declared\n")?;
        Ok(())
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn one_complaint_hides_no_other() -> TestResult {
        expect_kernel("declared.rs:3")?;
        say("WARNING: CPU: 0 PID: 1 at declared.rs:3 declared\n")?;
        say("BUG: something else\n")?;
        Ok(())
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn silence_fails_a_case_that_declared_a_message() -> TestResult {
        expect_kernel("never said")?;
        Ok(())
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn life_fails_a_case_that_declared_a_death() -> TestResult {
        expect_death("Kernel panic")?;
        Ok(())
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn the_first_attempt_fails() -> TestResult {
        assert_ne!(std::env::var(guest_tests::env::ATTEMPT)?, "1");
        Ok(())
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn another_death_fails_the_case() -> TestResult {
        expect_death("soft lockup")?;
        fs::write("/proc/sys/kernel/sysrq", "1")?;
        fs::write("/proc/sysrq-trigger", "c")?;
        std::thread::sleep(Duration::from_secs(3600));
        Ok(())
    }
}
