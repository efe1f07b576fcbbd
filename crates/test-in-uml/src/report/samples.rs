//! Reports for tests: lines as a run writes them, and the report that is read from them.

use std::fmt;

use serde_json::{Value, json};

use super::read::RunReport;
use crate::runs::RunFiles;

/// A line in the making.
#[derive(Debug, Clone)]
pub struct Line(Value);

impl Line {
    /// The line of what is neither a case nor a guest.
    pub fn trouble(what: &str) -> Self {
        Self(json!({ "event": "trouble", "subject": "1700000000-0", "what": what }))
    }

    /// The line with a field.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0[field] = value.into();
        self
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The first line.
pub fn run() -> Line {
    Line(json!({
        "event": "run", "version": 1, "id": "1700000000-0", "host_kernel": "6.6.0",
        "host_cpu": "a CPU",
    }))
}

/// The line of a kernel.
pub fn kernel(name: &str) -> Line {
    Line(json!({
        "event": "kernel", "kernel": name, "release": format!("{name}.1"), "compiler": "12.2.0",
        "config_sha256": "00ff", "transport": "vec0", "passed_over": [],
    }))
}

/// The line of a case, without anything to tell.
pub fn case(kernel: &str, binary: &str, name: &str, end: &str) -> Line {
    Line(json!({
        "event": "case", "kernel": kernel, "guest": format!("guest-{kernel}-1"), "binary": binary,
        "name": name, "end": end, "detail": "", "complaint": null, "seconds": 0.25, "output": "",
        "kernel_log": [], "left_behind": [],
    }))
}

/// The line of a guest.
pub fn guest(name: &str, end: &str) -> Line {
    Line(json!({
        "event": "guest", "guest": name, "end": end, "detail": "", "charged": false,
        "last_case": null, "strays": [],
    }))
}

/// The last line.
pub fn summary() -> Line {
    Line(json!({
        "event": "summary", "passed": 0, "failed": 0, "skipped": 0, "not_run": 0, "seconds": 12.5,
    }))
}

/// A report in a folder of its own.
pub struct Sample {
    /// What was read.
    pub report: RunReport,
    _dir: tempfile::TempDir,
}

/// A whole run of these lines between a first and a last one.
pub fn sample(lines: &[Line]) -> Sample {
    sample_of(&[&[run()], lines, &[summary()]].concat())
}

/// A run of just these lines.
pub fn sample_of(lines: &[Line]) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(RunFiles::of(dir.path()).report_lines(), text).unwrap();
    Sample { report: RunReport::read(dir.path()).unwrap(), _dir: dir }
}

/// What a guest might write to command whoever reads it.
pub const HOSTILE: &str = "::error::no\n  ::add-mask::x\n##[error]no\nx ##[add-mask]y\r\
    ##vso[task.complete]\n</script><script>alert(1)</script>\n]]>\nok 1 - all is well\n1..9\n\
    # Subtest: mine\nKTAP version 1\nreboot: System halted\n\u{1b}[31mred\u{0}\u{9b}2J\u{202e}\n\
    </pre></details>\n|a|b|\n`x` <b>*y*</b> &lt; https://example.org\n\u{85}\u{2028}::error::no\n";
