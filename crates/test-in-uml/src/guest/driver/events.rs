//! What happens to a guest, one thing after another: each is waited for until the time that was granted is over.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Result, bail};
use uml_protocol::wire::{ToGuest, ToHost};

use super::Guest;
use crate::cancel;
use crate::guest::machine::{Action, GuestEvent};
use crate::guest::session::connect;
use crate::guest::spec::EVENTS;

/// How often a silent guest lets us look whether the user asked us to stop.
const CANCEL_PERIOD: Duration = Duration::from_millis(100);

/// What a guest that hangs is asked for: the registers of what runs, and where each task is
/// (sysrq.rst).
const TRACES: [&str; 2] = ["sysrq p", "sysrq t"];

impl Guest<'_> {
    /// The next event; fails when the user asks us to stop.
    pub(super) fn next(&mut self) -> Result<GuestEvent> {
        loop {
            cancel::check()?;
            if self.overdue == Some(0) {
                self.overdue = None;
                return Ok(GuestEvent::Deadline);
            }
            if self.session_over
                && let Some(held) = self.held.take()
            {
                return Ok(held);
            }
            let patience = self.patience();
            match self.inbox.recv_timeout(patience) {
                Ok(event @ GuestEvent::Exited(_)) => match &self.session {
                    // What the guest has told and we have not read comes first.
                    Some(session) if !self.session_over => {
                        session.hang_up();
                        self.held = Some(event);
                    }
                    _ => return Ok(event),
                },
                Ok(event) => {
                    self.session_over |= matches!(event, GuestEvent::Disconnected(_));
                    return Ok(event);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.overdue.take().is_some() {
                        return Ok(GuestEvent::Deadline);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the watchers of a guest are gone"),
            }
        }
    }

    /// How long to wait for an event. What has arrived when time is over is not late, however late we look;
    /// but a guest that never stops to talk cannot put off its end.
    fn patience(&mut self) -> Duration {
        if let Some(waiting) = &mut self.overdue {
            *waiting -= 1;
            return Duration::ZERO;
        }
        let left = self.times.left(&mut *self.process);
        if left == Some(Duration::ZERO) {
            self.overdue = Some(EVENTS);
        }
        left.unwrap_or(CANCEL_PERIOD).min(CANCEL_PERIOD)
    }

    /// Grants the guest so much time from now on, or as much as it wants.
    pub(super) fn grant(&mut self, time: Option<Duration>) {
        self.overdue = None;
        match time {
            Some(time) => self.times.grant(time),
            None => self.times.grant_all(),
        }
    }

    /// Has the machine say what an event means, and does it.
    pub(super) fn feed(&mut self, event: GuestEvent) {
        if let GuestEvent::Message(ToHost::TimeIsOver) = event {
            let more = self.times.more_for_case(&mut *self.process);
            return self.say(&ToGuest::MoreTime(more));
        }
        for action in self.machine.step(event) {
            self.act(action);
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Grant(time) => self.grant(Some(time)),
            Action::Kill => self.process.kill(),
            // A guest that has no management console, or does not serve it, has no traces.
            Action::Trace => {
                for command in TRACES {
                    let _ = self.host.mconsole(&self.link, command);
                }
            }
            Action::Connect(port) => {
                let key = self.machine.key();
                match connect(self.host, &self.link, port, key, &self.events) {
                    Ok(session) => self.session = Some(session),
                    Err(error) => self.feed(GuestEvent::Disconnected(format!("{error:#}"))),
                }
            }
        }
    }
}
