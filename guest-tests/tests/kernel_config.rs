//! The configuration of the kernel that runs.

use std::fs;

use guest_tests::{TestResult, config, env, skip};

#[test]
fn every_line_that_was_asked_for_is_in_the_running_kernel() -> TestResult {
    let asked = std::env::var(env::KERNEL_FRAGMENTS)?;
    assert!(asked.lines().count() > 10, "the host named too few lines:\n{asked}");
    for line in asked.lines() {
        if let Some((name, value)) = line.split_once('=') {
            assert_eq!(config(name)?.as_deref(), Some(value), "{line}");
        } else if let Some(name) = line.split_whitespace().nth(1) {
            assert_eq!(config(name)?, None, "{line}");
        }
    }
    Ok(())
}

#[test]
fn the_hosts_files_are_out_of_reach() -> TestResult {
    assert_eq!(config("CONFIG_HOSTFS")?, None);
    let filesystems = fs::read_to_string("/proc/filesystems")?;
    assert!(!filesystems.contains("hostfs"), "{filesystems}");
    Ok(())
}

#[test]
fn hung_tasks_are_looked_for() -> TestResult {
    if config("CONFIG_DETECT_HUNG_TASK")?.is_none() {
        skip("this kernel was built without the detector of hung tasks");
        return Ok(());
    }
    let seconds: u64 =
        fs::read_to_string("/proc/sys/kernel/hung_task_timeout_secs")?.trim().parse()?;
    assert!(seconds > 0, "the detector is off");
    Ok(())
}
