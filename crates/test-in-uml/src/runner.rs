//! A process that cargo or nextest takes for a test binary: it has a guest run that, and says what the guest says.
//!
//! It is this executable with a hidden subcommand, which cargo starts as a target's runner (The Cargo Book, `target.<triple>.runner`).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigHandler, Signal, raise, signal};
use serde::{Deserialize, Serialize};
use uml_protocol::wire::{ProcessEnd, Stream, receive, send};

use crate::socket_path::socket_in;

/// The hidden subcommand.
pub(crate) const RUNNER: &str = "__runner";

/// What a process asks for that is to run in a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The program, on the host.
    pub program: String,
    pub args: Vec<String>,
    /// The folder that it was to run in.
    pub dir: String,
    pub env: Vec<(String, String)>,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It wrote this.
    Output { stream: Stream, bytes: Vec<u8> },
    /// It ended so; what else is to be said of it, if it is a failure for that.
    Ended { end: Option<ProcessEnd>, failure: Option<String> },
}

/// The exit code of what ended well and failed for another reason; it is libtest's.
const FAILED: i32 = 101;

/// What of the environment is of the host, and not for guests: where things lie, and who is there.
const OF_HOST: [&str; 14] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "TMP",
    "TEMP",
    "PWD",
    "OLDPWD",
    "SHELL",
    "USER",
    "LOGNAME",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LANG",
    "TERM",
];

/// The beginnings of the names of more of it.
const OF_HOST_TOO: [&str; 5] = ["XDG_", "LC_", "UML_", "CARGO_TARGET_", "SSH_"];

/// The socket of who has guests, in the folder of its run.
pub(crate) const SOCKET: &str = "guests.socket";

/// Serves the hidden subcommand: the folder of the run that has guests, the program, its arguments.
pub(crate) fn serve(args: &[OsString]) -> Result<i32> {
    let [run, program, args @ ..] = args else { bail!("usage: {RUNNER} FOLDER PROGRAM …") };
    let connected = File::open(run).and_then(|run| UnixStream::connect(socket_in(&run, SOCKET)));
    let mut stream = connected.context(
        "nobody has a guest for this test: the command that cargo was started by is over",
    )?;
    let dir = std::env::current_dir().context("cannot tell the current folder")?;
    let request = Request {
        program: text(dir.join(program).as_os_str())?,
        args: args.iter().map(|arg| text(arg)).collect::<Result<_>>()?,
        dir: text(dir.as_os_str())?,
        env: environment(),
    };
    send(&mut stream, &request).context("cannot ask for a guest")?;
    loop {
        match receive(&mut stream).context("cannot understand who has guests")? {
            Some(Reply::Output { stream, bytes }) => pass_on(stream, &bytes)?,
            Some(Reply::Ended { end, failure }) => return Ok(end_like(end, failure)),
            None => bail!("there was no guest for this test to its end"),
        }
    }
}

fn text(word: &OsStr) -> Result<String> {
    let text = word.to_str().with_context(|| format!("{} is no text", word.to_string_lossy()))?;
    Ok(text.into())
}

/// What the process has in a guest beside what every one has there.
fn environment() -> Vec<(String, String)> {
    let pairs = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    pairs.filter(|(name, _)| !is_of_host(name)).collect()
}

fn is_of_host(name: &str) -> bool {
    OF_HOST.contains(&name) || OF_HOST_TOO.iter().any(|start| name.starts_with(start))
}

fn pass_on(stream: Stream, bytes: &[u8]) -> Result<()> {
    let written = match stream {
        Stream::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Stderr => std::io::stderr().lock().write_all(bytes),
    };
    written.context("nobody reads what the test writes")
}

/// Ends as the process did; the exit code, if it is not by a signal.
fn end_like(end: Option<ProcessEnd>, failure: Option<String>) -> i32 {
    if let Some(failure) = &failure {
        eprintln!("{failure}");
    }
    match end {
        Some(ProcessEnd::Signal(number)) => {
            if let Ok(number) = Signal::try_from(number) {
                // SAFETY: no handler is installed.
                let _ = unsafe { signal(number, SigHandler::SigDfl) }.and_then(|_| raise(number));
            }
            // As a shell has it, where that did not end us.
            128 + number
        }
        Some(ProcessEnd::Code(0)) | None if failure.is_some() => FAILED,
        Some(ProcessEnd::Code(code)) => code,
        Some(ProcessEnd::TimedOut) | None => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_on_the_host_is_not_told_in_guests() {
        for name in
            ["PATH", "HOME", "LC_ALL", "XDG_RUNTIME_DIR", "CARGO_TARGET_X_RUNNER", "UML_GUEST"]
        {
            assert!(is_of_host(name), "{name}");
        }
        for name in ["CARGO_MANIFEST_DIR", "NEXTEST_RUN_ID", "RUST_BACKTRACE", "MY_OWN"] {
            assert!(!is_of_host(name), "{name}");
        }
    }

    #[test]
    fn a_failure_is_no_success_however_the_process_ended() {
        let why = || Some("the kernel complained".into());
        assert_eq!(end_like(Some(ProcessEnd::Code(0)), None), 0);
        assert_eq!(end_like(Some(ProcessEnd::Code(3)), None), 3);
        assert_eq!(end_like(Some(ProcessEnd::Code(0)), why()), FAILED);
        assert_eq!(end_like(Some(ProcessEnd::Code(3)), why()), 3);
        assert_eq!(end_like(None, why()), FAILED);
        assert_eq!(end_like(Some(ProcessEnd::TimedOut), None), FAILED);
    }
}
