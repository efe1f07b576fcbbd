//! `cargo xtask up`.
//!
//! Another process of this executable holds the guest, in a session of its own. It is started once all is built that takes
//! long, and says on its standard output that the guest is ready; what it says on the other until then is shown if it fails.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use clap::Args;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout, setsid};

use super::{Machine, ReplayChoice, what_next};
use crate::cancel::{CancelToken, Interrupted, Interruptible};
use crate::ctx::Ctx;
use crate::isolation::OWN_EXE;
use crate::person::{self, GuestName, Registered};
use crate::{invocation, threads, ui};

/// How often, in milliseconds, it is looked whether somebody reads our output.
const PERIOD: u8 = 100;

/// What is written to standard error of a holder goes there once its guest is ready.
const LOG: &str = "holder";

/// The flag of the process that holds the guest.
const HOLDER: &str = "--holder";

#[derive(Debug, Args)]
pub(in super::super) struct Up {
    /// What the guest is known by
    #[arg(value_name = "GUEST", default_value = "guest")]
    name: GuestName,
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    replay: ReplayChoice,
    /// Stay until the guest has ended
    #[arg(long)]
    foreground: bool,
    /// Hold the guest for another process of ours, which has our standard output
    #[arg(long = "holder", hide = true)]
    is_holder: bool,
}

impl Up {
    pub fn run(&self, ctx: &Ctx) -> Result<ExitCode> {
        if self.foreground || self.is_holder {
            return self.hold(ctx);
        }
        drop(Registered::claim(&ctx.layout, &self.name)?);
        let replayed = self.replay.case(ctx)?;
        self.machine.build(ctx, replayed.as_ref().map(|replayed| &replayed.again))?;
        let mut holder = Command::new(OWN_EXE);
        holder.args(std::env::args_os().skip(1)).arg(HOLDER);
        holder.stdin(Stdio::null()).stdout(Stdio::piped());
        holder.stderr(Stdio::piped());
        let mut holder = holder.spawn().context("cannot start a process for the guest")?;
        match wait_until_ready(ctx, &mut holder) {
            Ok(true) => {
                ui::print(&self.name)?;
                ctx.ui.say(&self.what_next());
                Ok(ExitCode::SUCCESS)
            }
            Ok(false) => {
                let said = holder.stderr.take().map(std::io::read_to_string).transpose();
                ui::to_stderr(said.ok().flatten().unwrap_or_default().trim_end());
                let code = holder.wait().context("cannot wait for a process of ours")?.code();
                let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
                Ok(ExitCode::from(code))
            }
            Err(error) => {
                let pid = Pid::from_raw(holder.id().cast_signed());
                let _ = kill(pid, Signal::SIGTERM);
                let _ = holder.wait();
                Err(error)
            }
        }
    }

    /// Holds the guest until its end.
    fn hold(&self, ctx: &Ctx) -> Result<ExitCode> {
        let given_up = CancelToken::default();
        if self.is_holder {
            // A terminal's signals are for the process that was started there.
            setsid().context("cannot begin a session")?;
            watch_reader(&ctx.cancel, &given_up)?;
        }
        let registered = Registered::claim(&ctx.layout, &self.name)?;
        let replayed = self.replay.case(ctx)?;
        let again = replayed.as_ref().map(|replayed| &replayed.again);
        self.machine.run(ctx, &self.name, again, |stage, plan| {
            person::background::run(ctx, stage, plan, &registered, |_| {
                if let Some(replayed) = &replayed {
                    replayed.put(ctx, &self.name, plan.kernel)?;
                }
                // From now on nobody needs to read it.
                given_up.cancel();
                let mut out = std::io::stdout();
                writeln!(out, "{}", self.name)
                    .and_then(|()| out.flush())
                    .context("nobody waits for the guest any more")?;
                if self.is_holder {
                    let log = ctx.run()?.step_log(LOG);
                    return let_go(&log);
                }
                ctx.ui.say(&self.what_next());
                Ok(())
            })
        })
    }
}

impl Up {
    /// What to do with the guest now.
    fn what_next(&self) -> String {
        let run = format!("{} exec {} ", invocation::command(), self.name);
        self.replay.tell(what_next(&self.name), &run)
    }
}

/// Waits for the word of a holder; false if it ended without one.
fn wait_until_ready(ctx: &Ctx, holder: &mut Child) -> Result<bool> {
    let word = holder.stdout.take().context("a process of ours has no output")?;
    let output = OwnedFd::from(word).into();
    let mut word = Interruptible { output, cancel: ctx.cancel.clone() };
    let count = word.read(&mut [0; 256]);
    ctx.cancel.check()?;
    Ok(count.context("cannot hear of the guest")? > 0)
}

/// Has the work end once nobody reads our standard output any more, unless this is given up before.
fn watch_reader(work: &CancelToken, given_up: &CancelToken) -> Result<()> {
    let (work, given_up) = (work.clone(), given_up.clone());
    threads::spawn(move || {
        loop {
            let out = std::io::stdout();
            let mut fds = [PollFd::new(out.as_fd(), PollFlags::empty())];
            let looked = poll(&mut fds, PERIOD);
            match given_up.check() {
                // Whoever reads is gone only after that.
                Err(Interrupted) => return,
                Ok(()) if matches!(looked, Ok(0) | Err(Errno::EINTR)) => {}
                Ok(()) => return work.cancel(),
            }
        }
    })?;
    Ok(())
}

/// Has what we write from now on go to a file.
fn let_go(log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
    dup2_stdout(&file).and_then(|()| dup2_stderr(&file)).context("cannot let go of the terminal")
}
