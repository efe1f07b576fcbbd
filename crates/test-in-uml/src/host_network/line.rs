//! A command, as a line that can be pasted into a shell.

use std::fmt;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// A command of the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    argv: Vec<String>,
    input: Option<String>,
}

impl Line {
    /// The command of these words.
    pub(super) fn new(words: &str) -> Self {
        Self { argv: words.split_whitespace().map(String::from).collect(), input: None }
    }

    /// The same with more words, each of them as it stands.
    pub(super) fn args<const N: usize>(mut self, words: [&str; N]) -> Self {
        self.argv.extend(words.map(String::from));
        self
    }

    /// The same with this on its standard input.
    pub(super) fn input(mut self, text: String) -> Self {
        self.input = Some(text);
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// When it is not on this host, or fails; the message has what it said.
    pub(super) fn run(&self) -> Result<()> {
        let output = self.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{self}` failed: {}", said.trim());
        Ok(())
    }

    /// Returns true if it succeeds.
    pub(super) fn succeeds(&self) -> bool {
        self.output().is_ok_and(|output| output.status.success())
    }

    /// Runs it; its standard output.
    ///
    /// # Errors
    /// When it is not on this host, or fails.
    pub(super) fn read(&self) -> Result<String> {
        let output = self.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{self}` failed: {}", said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it; its standard output, whatever it ends with.
    ///
    /// # Errors
    /// When it is not on this host.
    pub(super) fn say(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.output()?.stdout).into_owned())
    }

    fn output(&self) -> Result<std::process::Output> {
        let (program, args) = self.argv.split_first().context("a command has a name")?;
        duct::cmd(program, args)
            .stdin_bytes(self.input.clone().unwrap_or_default())
            .stdout_capture()
            .stderr_capture()
            // Ctrl-C is for us: a command that has begun is done to its end.
            .before_spawn(|command| {
                command.process_group(0);
                Ok(())
            })
            .unchecked()
            .run()
            .with_context(|| format!("cannot start {program}: is it installed?"))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.argv.iter().map(String::as_str);
        f.write_str(&shlex::try_join(words).unwrap_or_else(|_| self.argv.join(" ")))?;
        match &self.input {
            Some(text) => write!(f, " <<'END'\n{}\nEND", text.trim_end()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_pasted() {
        let line = Line::new("ip link set").args(["a b"]);
        assert_eq!(line.to_string(), "ip link set 'a b'");
        let line = Line::new("cat").input("one\ntwo\n".into());
        assert_eq!(line.to_string(), "cat <<'END'\none\ntwo\nEND");
        assert_eq!(line.read().unwrap(), "one\ntwo\n");
        assert_eq!(duct::cmd!("sh", "-c", line.to_string()).read().unwrap(), "one\ntwo");
    }

    #[test]
    fn what_fails_says_what_it_said() {
        let error = Line::new("ls /no/such/place").run().unwrap_err().to_string();
        assert!(
            error.contains("`ls /no/such/place` failed") && error.contains("No such"),
            "{error}"
        );
        let error = Line::new("no-such-program").run().unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("installed"), "{error}");
    }
}
