//! What is kept of a run for programs: JSON lines as it goes, of which all reports are made.
//!
//! `docs/report.md` documents the lines; a field is never given another meaning within a version.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde::Serialize;
use uml_protocol::wire::Leftover;

use super::{About, plain};
use crate::guest::machine::End;
use crate::kernel::KernelBinary;
use crate::store::sha256_of;
use crate::suite::{Execution, Life, Outcome, Tally};

/// The version of the lines.
pub(super) const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Line<'a> {
    /// The first.
    Run {
        version: u32,
        id: &'a str,
        started_at: f64,
        seed: Option<u64>,
        partition: Option<String>,
        host_kernel: String,
        host_cpu: String,
    },
    /// A kernel under test, before its cases.
    Kernel {
        kernel: &'a str,
        release: &'a str,
        compiler: &'a str,
        config_sha256: String,
        transport: &'a str,
        passed_over: &'a [String],
    },
    /// A case is over, or an attempt at it.
    Case(CaseLine),
    /// A guest is over.
    Guest {
        guest: &'a str,
        kernel: &'a str,
        cpu: Option<u16>,
        booted: f64,
        ready: f64,
        ended: f64,
        cases: u32,
        end: &'a str,
        detail: &'a str,
        charged: bool,
        last_case: Option<&'a str>,
        strays: Vec<String>,
    },
    /// Something that makes the run red and is neither a case's nor a guest's.
    Trouble { subject: &'a str, what: String },
    /// The last.
    Summary {
        passed: usize,
        flaky: usize,
        failed: usize,
        skipped: usize,
        not_run: usize,
        seconds: f64,
    },
}

/// What is kept of a case.
#[derive(Debug, Serialize)]
pub(super) struct CaseLine {
    pub kernel: String,
    pub guest: Option<String>,
    /// How many cases the guest had run with this one.
    pub order: Option<u32>,
    pub binary: String,
    pub name: String,
    pub repeat: u32,
    pub attempt: u32,
    pub flaky: bool,
    /// When it began, in seconds since the run did.
    pub started: f64,
    /// How it ended, in a word.
    pub end: &'static str,
    /// What is known beside the word.
    pub detail: String,
    /// The pattern of the kernel's complaint.
    pub complaint: Option<&'static str>,
    pub seconds: f64,
    pub output: String,
    pub kernel_log: Vec<String>,
    pub left_behind: Vec<String>,
}

impl CaseLine {
    pub fn new(execution: &Execution) -> Self {
        let (job, verdict) = (&execution.job, &execution.verdict);
        let place = verdict.place.as_ref();
        Self {
            kernel: execution.kernel.clone(),
            guest: place.map(|place| place.guest.clone()),
            order: place.map(|place| place.order),
            binary: job.case.binary.name.clone(),
            name: job.case.name.clone(),
            repeat: job.repetition,
            attempt: execution.attempt,
            flaky: execution.is_flaky(),
            started: execution.started.as_secs_f64(),
            end: end_of_case(&verdict.outcome),
            detail: verdict.detail(),
            complaint: verdict.outcome.complaint(),
            seconds: verdict.duration.as_secs_f64(),
            output: String::from_utf8_lossy(&verdict.output).into_owned(),
            kernel_log: verdict.log.clone(),
            left_behind: verdict.leftovers.iter().map(describe).collect(),
        }
    }
}

impl<'a> Line<'a> {
    pub fn run(id: &'a str, about: &About) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let host_kernel = nix::sys::utsname::uname()
            .map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned());
        Line::Run {
            version: VERSION,
            id,
            started_at: since.map_or(0.0, |since| since.as_secs_f64()),
            seed: about.seed,
            partition: about.partition.as_ref().map(ToString::to_string),
            host_kernel,
            host_cpu: host_cpu(),
        }
    }

    pub fn kernel(kernel: &'a KernelBinary, passed_over: &'a [String]) -> Result<Self> {
        Ok(Line::Kernel {
            kernel: &kernel.name,
            release: &kernel.release,
            compiler: &kernel.compiler,
            config_sha256: sha256_of(&kernel.config)?,
            transport: kernel.transport.interface(),
            passed_over,
        })
    }

    pub fn guest(life: &'a Life) -> Self {
        Line::Guest {
            guest: &life.name,
            kernel: &life.kernel,
            cpu: life.cpu,
            booted: life.booted.as_secs_f64(),
            ready: life.ready.as_secs_f64(),
            ended: life.ended.as_secs_f64(),
            cases: life.cases,
            end: match &life.end {
                End::Clean { .. } => "clean",
                End::BootFailed(_) => "boot-failed",
                End::Panicked(_) => "panicked",
                End::Hung(_) => "hung",
                End::Lost(_) => "lost",
            },
            detail: life.end.detail(),
            charged: life.charged,
            last_case: life.last.as_deref(),
            strays: life.strays.iter().map(ToString::to_string).collect(),
        }
    }

    pub fn summary(tally: &Tally, took: Duration) -> Self {
        let Tally { passed, flaky, failed, skipped, not_run } = *tally;
        Line::Summary { passed, flaky, failed, skipped, not_run, seconds: took.as_secs_f64() }
    }
}

fn end_of_case(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed(_) => "failed",
        Outcome::Kernel(_) => "kernel",
        Outcome::TimedOut => "timed-out",
        Outcome::Skipped(_) => "skipped",
        Outcome::Died { end: End::Panicked(_), .. } => "panicked",
        Outcome::Died { end: End::Hung(_), .. } => "hung",
        Outcome::Died { .. } => "lost",
        Outcome::Untrusted(_) => "error",
        Outcome::NotRun(_) => "not-run",
    }
}

/// What a case left behind, in words.
pub(super) fn describe(leftover: &Leftover) -> String {
    plain(&match leftover {
        Leftover::Process(command) => format!("process `{command}` (killed)"),
        Leftover::Stuck(command) => format!("process `{command}` (SIGKILL does not end it)"),
        Leftover::Mount(place) => format!("mount {place} (unmounted)"),
        Leftover::Clock(by) => format!("a clock that was set by {by} s (set back)"),
        Leftover::Module(name) => format!("module {name} (still loaded)"),
        Leftover::Unmounted(place) => format!("no mount on {place}"),
        Leftover::Space(place, bytes) => format!("{} MiB taken on {place}", bytes >> 20),
        Leftover::Setting(file) => format!("the setting {file} (written to)"),
        Leftover::Network(what) => format!("network: {what}"),
        Leftover::Program(place) => format!("another file than was sent at {place}"),
    })
}

fn host_cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find(|line| line.starts_with("model name"));
    model.and_then(|line| line.split_once(": ")).map_or_else(String::new, |(_, name)| name.into())
}

/// The file of JSON lines.
#[derive(Debug)]
pub(super) struct Record {
    lines: File,
}

impl Record {
    pub fn create(path: &Path) -> Result<Self> {
        let lines =
            File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { lines })
    }

    /// Writes a line, in one piece: who reads along never sees half of one.
    pub fn write(&mut self, line: &Line<'_>) -> Result<()> {
        let mut text = serde_json::to_vec(line).context("cannot write a line of the report")?;
        text.push(b'\n');
        self.lines.write_all(&text).context("cannot write the report")
    }
}
