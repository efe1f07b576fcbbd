//! The configuration of the kernel that runs.

use std::fs;

use uml_test::{TestResult, config, env, needs, release, skip};

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
fn tools_that_the_host_happens_to_have_leave_no_trace() -> TestResult {
    for tool in ["CONFIG_RUSTC_VERSION", "CONFIG_PAHOLE_VERSION"] {
        // Kernels that know nothing of the tool have no such line.
        let version = config(tool)?.unwrap_or_else(|| "0".into());
        assert_eq!(version, "0", "{tool}: another host would build another kernel");
    }
    Ok(())
}

#[test]
fn hung_tasks_are_looked_for() -> TestResult {
    if !needs("DETECT_HUNG_TASK")? {
        return Ok(());
    }
    let seconds: u64 =
        fs::read_to_string("/proc/sys/kernel/hung_task_timeout_secs")?.trim().parse()?;
    assert!((1..=15).contains(&seconds), "it looks too late: after {seconds} s");
    Ok(())
}

/// The cells of the guide's table for one kernel: each row's symbol on 3.0, and what the cell says.
fn guide_column(kernel: &str) -> anyhow::Result<Option<Vec<(String, String)>>> {
    let rows: Vec<Vec<&str>> = include_str!("../../kconfig/README.md")
        .lines()
        .skip_while(|line| !line.starts_with("| Guide |"))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let [header, _rule, rows @ ..] = rows.as_slice() else {
        anyhow::bail!("the README has no table of the guide")
    };
    let Some(index) = header.iter().position(|cell| *cell == kernel) else { return Ok(None) };
    let symbol = |row: &[&str]| row[1].trim_matches('`').split('=').next().map(str::to_owned);
    Ok(Some(rows.iter().filter_map(|row| Some((symbol(row)?, row[index].to_owned()))).collect()))
}

#[test]
fn the_table_of_the_guide_is_true_of_this_kernel() -> TestResult {
    let release = release()?;
    let Some(rows) = guide_column(&format!("{}.{}", release.major, release.minor))? else {
        skip("the table has no column for this kernel");
        return Ok(());
    };
    assert!(rows.len() > 20, "the table has only {} rows", rows.len());
    for (guides, cell) in rows {
        if cell == "absent" {
            assert_eq!(config(&format!("CONFIG_{guides}"))?, None, "{guides}");
            continue;
        }
        for setting in cell.split(", ").map(|part| part.trim_matches('`')) {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            let found = config(&format!("CONFIG_{name}"))?;
            assert_eq!(found.as_deref().unwrap_or("n"), value, "{guides}: {name}");
        }
    }
    Ok(())
}
