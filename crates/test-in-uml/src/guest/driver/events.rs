//! What happens to a guest, one thing after another: each is waited for until the time that was granted is over.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Result, bail};
use uml_protocol::wire::{ToGuest, ToHost};

use super::Guest;
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
            self.cancel.check()?;
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
                Ok(event) => {
                    if let Some(event) = self.in_order(event) {
                        return Ok(event);
                    }
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

    /// Looks at what has happened by now, of a guest that nothing is asked of.
    ///
    /// # Errors
    /// When the user asks us to stop.
    pub fn attend(&mut self) -> Result<()> {
        self.cancel.check()?;
        while let Ok(event) = self.inbox.try_recv() {
            if let Some(event) = self.in_order(event) {
                self.feed(event);
            }
        }
        if self.session_over
            && let Some(held) = self.held.take()
        {
            self.feed(held);
        }
        Ok(())
    }

    /// The event, unless it has to wait: what the guest has told and we have not read comes before its end.
    fn in_order(&mut self, event: GuestEvent) -> Option<GuestEvent> {
        if let (GuestEvent::Exited(_), Some(session), false) =
            (&event, &self.session, self.session_over)
        {
            session.hang_up();
            self.held = Some(event);
            return None;
        }
        self.session_over |= matches!(event, GuestEvent::Disconnected(_));
        Some(event)
    }

    /// The time to wait for an event. What has arrived when time is over is not late, however late we look;
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
