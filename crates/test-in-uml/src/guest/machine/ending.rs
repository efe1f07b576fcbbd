//! The end of a guest: its signs come in any order, and the one that explains it best is told.

use std::os::unix::process::ExitStatusExt as _;

use super::{Action, End, GuestState, Machine, cause};

impl Machine {
    pub(super) fn deadline(&mut self) -> Vec<Action> {
        let what = match &mut self.state {
            GuestState::Over(_) => return Vec::new(),
            GuestState::Ending(end) => {
                // Grace is over: whatever has not arrived by now will not.
                let end = end.clone();
                self.over(end);
                return vec![Action::Kill];
            }
            GuestState::Booting => "it did not become ready in time",
            GuestState::Connecting => "its agent did not answer in time",
            GuestState::Ready => return Vec::new(),
            GuestState::Running(case) => {
                let what = match case.over_by_console {
                    true => "it did not answer, though the case was over by its marker",
                    false => "it did not answer when the case's time was over",
                };
                if self.hung.replace(what).is_none() {
                    self.log.expect_traces(true);
                    return vec![Action::Trace, Action::Grant(self.limits.traces)];
                }
                what
            }
            GuestState::ShuttingDown => "it did not switch off in time",
        };
        let mut actions = self.end_observed(End::Hung(what.into()));
        actions.insert(0, Action::Kill);
        actions
    }

    /// A sign that the guest has ended or is about to.
    pub(super) fn end_observed(&mut self, end: End) -> Vec<Action> {
        let end = self.hung.map_or(end, |what| End::Hung(what.into()));
        match std::mem::replace(&mut self.state, GuestState::Booting) {
            GuestState::Over(end) => self.state = GuestState::Over(end),
            // The first sign names the end, but a panic explains it better.
            GuestState::Ending(End::BootFailed(first)) => {
                let end = self.panic.clone().map_or(first, |line| End::Panicked(line).into());
                self.state = GuestState::Ending(End::BootFailed(end));
            }
            GuestState::Ending(first) => self.state = GuestState::Ending(self.prefer_panic(first)),
            // In an orderly power-off the connection and the console end as they should.
            GuestState::ShuttingDown if self.farewell => {
                self.state = GuestState::Ending(End::Clean { aborted: false });
                return self.finish_if_complete(Some(Action::Grant(self.limits.grace)));
            }
            GuestState::Booting | GuestState::Connecting => {
                let end = self.panic.clone().map_or(end, End::Panicked);
                self.state = GuestState::Ending(End::BootFailed(end.into()));
                return self.finish_if_complete(Some(Action::Grant(self.limits.grace)));
            }
            GuestState::Running(case) => {
                self.finished = Some(case);
                self.state = GuestState::Ending(self.prefer_panic(end));
                return self.finish_if_complete(Some(Action::Grant(self.limits.grace)));
            }
            GuestState::Ready | GuestState::ShuttingDown => {
                self.state = GuestState::Ending(self.prefer_panic(end));
                return self.finish_if_complete(Some(Action::Grant(self.limits.grace)));
            }
        }
        self.finish_if_complete(None)
    }

    /// Ends the life once status and console have arrived.
    fn finish_if_complete(&mut self, otherwise: Option<Action>) -> Vec<Action> {
        if let (GuestState::Ending(end), Some(status), true) =
            (&self.state, self.status, self.console_closed)
        {
            let end = match end {
                End::Lost(_) => {
                    let cause = self.cause.clone();
                    self.prefer_panic(End::Lost(cause.unwrap_or_else(|| self.how_it_went())))
                }
                end => end.clone(),
            };
            let end = match (end, status) {
                (End::Clean { .. }, Some(status)) => End::Clean { aborted: !status.success() },
                (end, _) => end,
            };
            self.over(end);
            return Vec::new();
        }
        otherwise.into_iter().collect()
    }

    /// The guest is over: the console tells what the agent could not.
    fn over(&mut self, end: End) {
        let rest = self.log.rest();
        self.take_log(&rest);
        let traces = self.log.take_traces();
        if let Some(case) = &mut self.finished {
            case.reports.finish();
            // To be asked for them may be too much for a kernel: that is ours, not the case's.
            traces.iter().for_each(|line| case.log.push(line, false));
        }
        let end = match self.prefer_panic(end) {
            End::Lost(how) => {
                let lines = self.last_lines.iter().map(String::as_str);
                End::Lost(cause::of_guest(lines, self.status.flatten()).unwrap_or(how))
            }
            end => end,
        };
        self.state = GuestState::Over(end);
    }

    pub(super) fn fatal(&mut self, why: &str) -> Vec<Action> {
        self.lost_by(format!("the agent said: {why}"))
    }

    pub(super) fn lost_by(&mut self, cause: String) -> Vec<Action> {
        self.cause.get_or_insert_with(|| cause.clone());
        self.end_observed(End::Lost(cause))
    }

    fn prefer_panic(&self, end: End) -> End {
        match (&self.panic, end) {
            // A program may write the words of a panic, and switch the guest off; a kernel that panics
            // aborts (`os_dump_core()` in arch/um/os-Linux/util.c).
            (Some(line), End::Lost(_) | End::Hung(_)) if !self.went_in_order() => {
                End::Panicked(line.clone())
            }
            // The process was gone before its last words were read.
            (_, End::Lost(_)) if self.shut_down_on_request() => End::Clean { aborted: false },
            (_, end) => end,
        }
    }

    fn went_in_order(&self) -> bool {
        matches!(self.status, Some(Some(status)) if status.success())
    }

    /// Returns true if it went because we asked it to.
    fn shut_down_on_request(&self) -> bool {
        self.asked_to_go && self.farewell && self.cause.is_none()
    }

    pub(super) fn how_it_went(&self) -> String {
        match self.status {
            Some(Some(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("its process exited with {code}"),
                (None, Some(signal)) => format!("signal {signal} ended its process"),
                (None, None) => "its process ended".into(),
            },
            Some(None) => "its keeper was killed".into(),
            None => "its process did not end".into(),
        }
    }
}
