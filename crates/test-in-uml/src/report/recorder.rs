//! Keeps what is told of a run, line by line.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::RunFacts;
use crate::kernel::KernelBinary;
use crate::record::{KernelLine, Line, RunLine, Trouble, VERSION};
use crate::store::sha256_of;
use crate::suite::Note;

/// The file of lines.
#[derive(Debug)]
pub(super) struct Recorder {
    id: String,
    lines: File,
    /// The first line that could not be written. No more is written then: a report has no gaps.
    failed: Option<anyhow::Error>,
}

impl Recorder {
    /// Begins the file of the run called `id`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(path: &Path, id: &str, about: &RunFacts) -> Result<Self> {
        let lines =
            File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        let mut recorder = Self { id: id.into(), lines, failed: None };
        recorder.write(&Line::Run(run_line(id, about)));
        match recorder.failed.take() {
            None => Ok(recorder),
            Some(error) => Err(error),
        }
    }

    pub fn note(&mut self, note: &Note) {
        match note {
            Note::Ready(target) => match kernel_line(&target.kernel, &target.passed_over) {
                Ok(line) => self.write(&Line::Kernel(line)),
                Err(error) => drop(self.failed.get_or_insert(error)),
            },
            Note::Again(case) | Note::Ended(case) => self.write(&Line::Case(Cow::Borrowed(case))),
            Note::GuestEnded(guest) => self.write(&Line::Guest(Cow::Borrowed(guest))),
            // A kernel that does not build, a guest that does not come up.
            Note::Broken(error) => {
                let (subject, what) = (self.id.clone(), format!("{error:#}"));
                self.write(&Line::Trouble(Trouble { subject, what }));
            }
            Note::Booted { .. } | Note::Began { .. } | Note::Idle(_) | Note::Kept(_) => {}
        }
    }

    /// Writes a line, in one piece: who reads along never sees half of one.
    pub fn write(&mut self, line: &Line<'_>) {
        if self.failed.is_some() {
            return;
        }
        let mut write = || -> Result<()> {
            let mut text = serde_json::to_vec(line).context("cannot write a line of the report")?;
            text.push(b'\n');
            self.lines.write_all(&text).context("cannot write the report")
        };
        self.failed = write().err();
    }

    /// Whether every line was written.
    ///
    /// # Errors
    /// When one was not: why.
    pub fn end(self) -> Result<()> {
        self.failed.map_or(Ok(()), Err)
    }
}

fn run_line(id: &str, about: &RunFacts) -> RunLine {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let host_kernel = nix::sys::utsname::uname()
        .map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned());
    RunLine {
        version: VERSION,
        id: id.into(),
        started_at: since.ok().map(|since| since.as_secs_f64()),
        seed: about.seed,
        partition: about.partition.as_ref().map(ToString::to_string),
        host_kernel,
        host_cpu: host_cpu(),
        walls: about.walls.clone(),
        merged: Vec::new(),
    }
}

fn kernel_line(kernel: &KernelBinary, passed_over: &[String]) -> Result<KernelLine> {
    Ok(KernelLine {
        kernel: kernel.name.clone(),
        release: kernel.release.clone(),
        compiler: kernel.compiler.clone(),
        config_sha256: sha256_of(&kernel.config)?,
        transport: kernel.net_driver.interface(0),
        passed_over: passed_over.into(),
    })
}

fn host_cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find(|line| line.starts_with("model name"));
    model.and_then(|line| line.split_once(": ")).map_or_else(String::new, |(_, name)| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::RunReport;
    use crate::runs::RunFiles;

    #[test]
    fn what_cannot_be_written_is_said_at_the_end_and_nothing_comes_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = RunFiles::of(dir.path()).report_lines();
        let mut recorder = Recorder::begin(&path, "1-0", &RunFacts::default()).unwrap();
        let trouble =
            |what: &str| Line::Trouble(Trouble { subject: "1-0".into(), what: what.into() });
        recorder.write(&trouble("kept"));
        // As a disk does that is full.
        let disk = std::mem::replace(
            &mut recorder.lines,
            File::options().write(true).open("/dev/full").unwrap(),
        );
        recorder.write(&trouble("lost"));
        recorder.lines = disk;
        recorder.write(&trouble("after a gap"));
        let error = recorder.end().unwrap_err();
        assert!(format!("{error:#}").contains("No space left"), "{error:#}");
        let kept: Vec<String> = RunReport::read(dir.path())
            .unwrap()
            .recorded
            .into_iter()
            .map(|trouble| trouble.what)
            .collect();
        assert_eq!(kept, ["kept"]);
    }
}
