//! Requests to a guest's holder, and by it to the guest.

use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::Socket;
use uml_protocol::commands::{Command, FromCommand, Request};
use uml_protocol::wire::{self, ProcessEnd, greet, receive};

use super::message::{About, Answer, Asked};
use super::name::GuestName;
use super::registry::{Holder, connect_to};
use crate::ctx::Ctx;
use crate::layout::Layout;
use crate::{invocation, packet, threads};

/// The time a holder may take to answer: longer than it waits for its guest itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often it is looked whether the guest is gone, or we are asked to stop.
const PERIOD: Duration = Duration::from_millis(100);

/// The time a guest may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// The time a guest may take to switch itself off: init stops its services first.
const END: Duration = Duration::from_secs(120);

fn ask(layout: &Layout, name: &GuestName, asked: &Asked) -> Result<(Answer, Vec<OwnedFd>)> {
    let socket = connect_to(layout, name)?;
    socket.set_read_timeout(Some(PATIENCE)).context("cannot limit a request")?;
    packet::send(socket.as_fd(), asked, &[])?;
    let answer = packet::receive(socket.as_fd())
        .with_context(|| format!("the process that holds the guest `{name}` does not answer"))?;
    match answer {
        Some((Answer::Failed(why), _)) => bail!("the guest `{name}`: {why}"),
        Some(answer) => Ok(answer),
        None => bail!("the guest `{name}` has just ended"),
    }
}

/// Tells of a guest.
///
/// # Errors
/// When it does not run, or its holder does not answer.
pub fn about(layout: &Layout, name: &GuestName) -> Result<About> {
    match ask(layout, name, &Asked::About)? {
        (Answer::About(about), _) => Ok(about),
        (other, _) => bail!("the holder of the guest `{name}` answers {other:?}"),
    }
}

/// A connection to a guest. One whose guest is gone without a word says nothing of that: its holder does.
#[derive(Debug)]
pub(super) struct Connection {
    pub socket: Socket,
    pub holder: Holder,
}

/// A connection to a guest, on which this was asked for.
pub(super) fn request(layout: &Layout, name: &GuestName, request: &Request) -> Result<Connection> {
    let holder = Holder::of(layout, name);
    let (_, connection) = ask(layout, name, &Asked::Connect)?;
    let connection =
        connection.into_iter().next().context("an answer came without a connection")?;
    let mut connection = Socket::from(connection);
    connection.set_read_timeout(Some(GREETING)).context("cannot limit a connection")?;
    greet(&mut connection).with_context(|| format!("the guest `{name}` cannot be understood"))?;
    connection.set_read_timeout(None).context("cannot limit a connection")?;
    wire::send(&mut connection, request)?;
    Ok(Connection { socket: connection, holder })
}

/// Waits for the end of something in a guest; nothing if the guest is gone before that.
pub(super) fn wait_for_end(mut socket: Socket) -> Result<Option<ProcessEnd>> {
    loop {
        match receive(&mut socket) {
            Ok(Some(FromCommand::Ended(end))) => return Ok(Some(end)),
            Ok(Some(FromCommand::Failed(why))) => bail!("in the guest: {why}"),
            Ok(Some(_)) => {}
            Ok(None) | Err(wire::Error::Io(_) | wire::Error::Truncated) => return Ok(None),
            Err(error) => return Err(error).context("the guest cannot be understood"),
        }
    }
}

/// Does this in a thread. A request to stop, or the end of the guest, closes the connection that it works on.
pub(super) fn watched<T: Send + 'static>(
    ctx: &Ctx,
    connection: &Connection,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, outcome) = sync_channel(1);
    threads::spawn(move || done.send(work()))?;
    let mut interrupted = Ok(());
    loop {
        match outcome.recv_timeout(PERIOD) {
            Ok(result) => return interrupted.map_err(anyhow::Error::from).and(result),
            Err(RecvTimeoutError::Disconnected) => bail!("a thread of ours panicked"),
            Err(RecvTimeoutError::Timeout) => {
                interrupted = ctx.cancel.check();
                if interrupted.is_err() || connection.holder.is_gone() {
                    let _ = connection.socket.shutdown(Shutdown::Both);
                }
            }
        }
    }
}

/// Has a guest switch itself off, and waits until it is gone.
///
/// # Errors
/// When it does not run, does not do it, or the user asks us to stop.
pub fn end_in_order(ctx: &Ctx, name: &GuestName) -> Result<()> {
    let argv = vec!["/sbin/poweroff".into()];
    let connection = request(&ctx.layout, name, &Request::Run(Command { argv, terminal: None }))?;
    let cure = || format!("`{} down --now {name}` cuts it off", invocation::command());
    // It may be off before it says so.
    let socket = connection.socket.try_clone().context("cannot share a connection")?;
    match watched(ctx, &connection, move || wait_for_end(socket)).with_context(cure)? {
        Some(ProcessEnd::Code(0)) | None => {}
        Some(end) => bail!("poweroff(8) in the guest `{name}` ended with {end:?}; {}", cure()),
    }
    wait_until_gone(ctx, &connection.holder)
        .with_context(|| format!("the guest `{name}` does not switch itself off: {}", cure()))
}

/// Cuts a guest off, and waits until it is gone.
///
/// # Errors
/// When it does not run, its holder does not answer, or the user asks us to stop.
pub fn end_at_once(ctx: &Ctx, name: &GuestName) -> Result<()> {
    let holder = Holder::of(&ctx.layout, name);
    ask(&ctx.layout, name, &Asked::End)?;
    wait_until_gone(ctx, &holder)
        .with_context(|| format!("the process that holds the guest `{name}` does not end"))
}

fn wait_until_gone(ctx: &Ctx, holder: &Holder) -> Result<()> {
    let deadline = Instant::now() + END;
    while !holder.is_gone() {
        ctx.cancel.check()?;
        ensure!(Instant::now() < deadline, "it is there still after {} s", END.as_secs());
        std::thread::sleep(PERIOD / 2);
    }
    Ok(())
}
