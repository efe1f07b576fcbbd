//! Commands of the guest's userland.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Runs a command line, split at blanks, and returns what it wrote to standard output.
///
/// # Errors
/// When it cannot be started or fails, with what it wrote.
pub fn run(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command line")?;
    let output = Command::new(program).args(words).output().with_context(|| format!("`{line}`"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    ensure!(
        output.status.success(),
        "`{line}`: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}
