//! A program of somebody else's that is run on the host and may do nothing there: it computes, and
//! writes to us.
//!
//! `xtask __shut SPEC` runs it once for each list of arguments, without privileges, behind a filter
//! of system calls and within limits. Where the host grants namespaces, it has some of its own,
//! without a network, and a root with nothing in it but itself, read-only. PID 1 of them collects what
//! it writes, and holds a lifeline to us, as that of any contained step.

use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Running;
use crate::cancel::{CancelToken, Interruptible};
use crate::isolation::{Isolation, SHUT};

mod keeper;

pub(in crate::isolation) use keeper::serve;

/// What a program that is shut in may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutLimits {
    /// The time all runs may take together.
    pub time: Duration,
    /// How much each run may write, in bytes.
    pub output: usize,
    /// Its address space, in bytes.
    pub memory: u64,
    /// Its threads, and all others of its user where it has no user namespace.
    pub threads: u64,
}

/// What a run of a program that was shut in showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    raw_status: i32,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Shown {
    /// How it ended.
    pub fn status(&self) -> ExitStatus {
        ExitStatus::from_raw(self.raw_status)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct ShutSpec {
    program: PathBuf,
    /// True if namespaces are to be had.
    apart: bool,
    env: Vec<String>,
    runs: Vec<Vec<String>>,
    limits: ShutLimits,
}

/// The program took more than its limits allow, and was ended.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
pub struct Exceeded(String);

/// Runs a static program, shut in, with each of these lists of arguments in turn, and nothing but
/// `env` (each `NAME=VALUE`) in its environment.
///
/// # Errors
/// When this host cannot shut it in, when it reaches a limit, or when the user asks us to stop.
pub fn shut_in(
    cancel: &CancelToken,
    isolation: &Isolation,
    program: impl AsFd,
    env: &[String],
    runs: &[&[&str]],
    limits: &ShutLimits,
) -> Result<Vec<Shown>> {
    // By our descriptor it is the very file that was opened, whatever has its path by now.
    let number = program.as_fd().as_raw_fd();
    let spec = ShutSpec {
        program: format!("/proc/{}/fd/{number}", std::process::id()).into(),
        apart: isolation.has_tmpfs(),
        env: env.to_vec(),
        runs: runs.iter().map(|run| run.iter().map(|&arg| arg.into()).collect()).collect(),
        limits: limits.clone(),
    };
    let (answer, theirs) = std::io::pipe().context("cannot make a pipe")?;
    let mut command = isolation.hidden(SHUT);
    command.arg(serde_json::to_string(&spec)?).stdout(Stdio::from(OwnedFd::from(theirs)));
    let mut running = Running::start(command)?;
    let mut bytes = Vec::new();
    let read = Interruptible { output: answer, cancel: cancel.clone() }.read_to_end(&mut bytes);
    cancel.check()?;
    read.context("cannot read what a program shows")?;
    running.wait()?;
    let answer: Result<Vec<Shown>, Refusal> =
        postcard::from_bytes(&bytes).context("whoever shuts a program in died")?;
    answer.map_err(|refusal| match refusal {
        Refusal::Exceeded(exceeded) => exceeded.into(),
        Refusal::Other(why) => anyhow::Error::msg(why),
    })
}

/// Why there is nothing to show.
#[derive(Serialize, Deserialize)]
enum Refusal {
    Exceeded(Exceeded),
    Other(String),
}
