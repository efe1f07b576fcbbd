//! A guest in the background: its console goes to a file, and it is reached by commands alone.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::end::{GuestEnd, TAIL, judge};
use super::message::About;
use super::server::AGAIN;
use super::{Guest, PersonPlan, Registered, Server};
use crate::cancel::CancelToken;
use crate::ctx::Ctx;
use crate::guest::{Init, keep_console};
use crate::stage::{GuestStatus, Stage};
use crate::text;

/// How often, in milliseconds, it is looked whether we are asked to stop.
const PERIOD: u8 = 100;

/// How much of the end of its console is shown of a guest that does not come up, in lines.
const LINES: usize = 40;

/// Boots a guest, says that it is ready once it takes commands, and waits for its end.
///
/// # Errors
/// When it cannot be started, does not come up or does not end in order, `ready` fails, or we were asked to stop.
pub fn run(
    ctx: &Ctx,
    stage: &Stage,
    plan: &PersonPlan<'_>,
    registered: &Registered,
    ready: impl FnOnce(&About) -> Result<()>,
) -> Result<GuestEnd> {
    let log = ctx.run()?.console_log(plan.name.as_str());
    let guest = Guest::prepare(ctx, stage, plan, Init::Commands)?;
    let (console, theirs) = std::io::pipe().context("cannot make a console")?;
    keep_console(console, &log)?;
    let process = guest.power_on(theirs.into())?;
    let about = plan.about(Some(&log));
    let server =
        Server { registered, about: about.clone(), stage, link: &guest.link, process: &process };
    let over = CancelToken::default();
    let end = std::thread::scope(|scope| {
        let end = guest.serve(scope, &server, &over).and_then(|()| {
            come_up(ctx, &server, process.status()?, &log)?;
            ready(&about)?;
            wait(ctx, process.status()?)
        });
        // Whatever it is, those who serve end with it.
        over.cancel();
        end
    });
    drop(process);
    guest.clear_away(ctx)?;
    judge(end?.wait()?, &tail(&log))
}

/// Waits until the guest takes commands.
fn come_up(ctx: &Ctx, server: &Server<'_>, status: GuestStatus, log: &Path) -> Result<()> {
    let (begun, most) = (Instant::now(), Init::Commands.boot_time(ctx.config.boot_timeout));
    loop {
        ctx.cancel.check()?;
        let has_ended = has_ended(&status, 0)?;
        if has_ended || begun.elapsed() > most {
            let what =
                if has_ended { "ended".into() } else { format!("took no commands for {most:?}") };
            let said = String::from_utf8_lossy(&tail(log)).into_owned();
            let lines: Vec<String> = said.lines().map(text::plain).collect();
            let lines = lines[lines.len().saturating_sub(LINES)..].join("\n  | ");
            bail!(
                "the guest did not come up: it {what}; the end of its console, {}:\n  | {lines}",
                log.display()
            );
        }
        if server.is_greeted()? {
            return Ok(());
        }
        std::thread::sleep(AGAIN);
    }
}

/// Waits for the guest's end.
fn wait(ctx: &Ctx, status: GuestStatus) -> Result<GuestStatus> {
    while !has_ended(&status, PERIOD)? {
        ctx.cancel.check()?;
    }
    Ok(status)
}

fn has_ended(status: &GuestStatus, milliseconds: u8) -> Result<bool> {
    let mut fds = [PollFd::new(status.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, milliseconds) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno).context("cannot wait for the guest"),
    }
}

/// The end of what the console said.
fn tail(log: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What cannot be read says nothing.
    let _ = File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL as u64)))?;
        file.read_to_end(&mut bytes)
    });
    bytes
}
