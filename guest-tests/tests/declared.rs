//! What a case declares of its kernel is no failure.

use std::fs;
use std::time::Duration;

use uml_test::{Module, Release, TestResult, expect_death, expect_kernel, release};

/// Has the kernel complain by the module `fault`.
fn complain(faults: &[&str]) -> TestResult {
    let module = Module::load("fault")?;
    for fault in faults {
        fs::write("/sys/module/fault/parameters/trigger", fault)?;
    }
    module.unload()?;
    Ok(())
}

/// Asks the kernel for what it does without a keyboard (sysrq.rst).
fn press(key: &str) -> TestResult {
    fs::write("/proc/sys/kernel/sysrq", "1")?;
    fs::write("/proc/sysrq-trigger", key)?;
    Ok(())
}

#[test]
fn a_complaint_is_declared_by_its_place() -> TestResult {
    expect_kernel("fault.c:")?;
    complain(&["warn"])
}

#[test]
fn a_complaint_is_declared_by_its_message() -> TestResult {
    expect_kernel("fault: warned as asked")?;
    complain(&["warn"])
}

#[test]
fn a_declared_message_need_not_be_a_complaint() -> TestResult {
    expect_kernel("HELP :")?;
    press("h")
}

#[test]
fn what_a_program_writes_is_no_complaint_of_the_kernels() -> TestResult {
    if release()? < (Release { major: 3, minor: 5 }) {
        uml_test::skip("this kernel does not tell the words of programs from its own");
        return Ok(());
    }
    fs::write("/dev/kmsg", "WARNING: CPU: 0 PID: 1 at declared.rs:1\n")?;
    fs::write("/dev/console", "progress 12%")?;
    fs::write("/dev/console", "[    0.900000] BUG: KASAN: not at all\n")?;
    Ok(())
}

#[test]
fn text_that_ends_no_line_hides_nothing_of_the_kernels() -> TestResult {
    expect_kernel("HELP :")?;
    fs::write("/dev/console", "progress 12%")?;
    press("h")
}

#[test]
fn a_declared_death_is_no_failure() -> TestResult {
    expect_death("Kernel panic - not syncing")?;
    press("c")?;
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
        complain(&["warn"])
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn one_complaint_hides_no_other() -> TestResult {
        expect_kernel("fault: warned as asked")?;
        complain(&["warn", "warn-again"])
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn a_message_that_was_said_excuses_no_complaint() -> TestResult {
        expect_kernel("HELP :")?;
        press("h")?;
        complain(&["warn"])
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn text_that_ends_no_line_hides_no_complaint() -> TestResult {
        fs::write("/dev/console", "progress 12%")?;
        complain(&["warn"])
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn a_program_cannot_say_what_was_declared() -> TestResult {
        // An old kernel does not tell who said it.
        if release()? >= (Release { major: 3, minor: 5 }) {
            expect_kernel("by a program")?;
            fs::write("/dev/kmsg", "by a program\n")?;
            return Ok(());
        }
        expect_kernel("by nobody")?;
        Ok(())
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn a_skip_hides_no_absence() -> TestResult {
        expect_kernel("never said")?;
        uml_test::skip("no reason");
        Ok(())
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn a_declared_death_excuses_no_complaint_before_it() -> TestResult {
        expect_death("sysrq triggered crash")?;
        complain(&["warn"])?;
        press("c")?;
        std::thread::sleep(Duration::from_secs(3600));
        Ok(())
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn a_declared_death_excuses_no_absence() -> TestResult {
        expect_kernel("never said")?;
        expect_death("Kernel panic - not syncing")?;
        press("c")?;
        std::thread::sleep(Duration::from_secs(3600));
        Ok(())
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn words_of_a_death_are_no_death() -> TestResult {
        expect_death("Kernel panic - not syncing")?;
        fs::write("/dev/kmsg", "Kernel panic - not syncing: by hand\n")?;
        nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF)?;
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
        assert_ne!(std::env::var(uml_test::env::ATTEMPT)?, "1");
        Ok(())
    }

    #[test]
    #[ignore = "fails on purpose"]
    fn another_death_fails_the_case() -> TestResult {
        expect_death("soft lockup")?;
        press("c")?;
        std::thread::sleep(Duration::from_secs(3600));
        Ok(())
    }
}
