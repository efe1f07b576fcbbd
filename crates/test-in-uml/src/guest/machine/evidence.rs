//! What the kernel's log says, and of which case.

use uml_protocol::marker::{self, Event as Mark, Found};

use super::log::Piece;
use super::{CaseRecord, GuestState, LAST_LINES, Machine};
use crate::guest::complaint;
use crate::guest::kernel_line::{LogLine, Origin};

impl Machine {
    /// What the kernel said before its agent could.
    pub(super) fn take_boot(&mut self, piece: &Piece) {
        self.lost += piece.lost;
        for line in piece.lines.iter().filter(|line| line.origin != Origin::Program) {
            self.strays.take(&line.text, &self.known);
        }
        self.strays.finish();
    }

    /// A piece of the kernel's log.
    pub(super) fn take_log(&mut self, piece: &Piece) {
        if piece.lost > 0 {
            match self.current_case() {
                Some(case) if case.is_open() => case.lost += piece.lost,
                _ => self.lost += piece.lost,
            }
        }
        for line in &piece.lines {
            self.log_line(line);
        }
    }

    /// The case that runs, or that ran when the guest ended.
    fn current_case(&mut self) -> Option<&mut CaseRecord> {
        match (&mut self.state, &mut self.finished) {
            (GuestState::Running(case), _) | (GuestState::Ending(_), Some(case)) => Some(case),
            _ => None,
        }
    }

    fn log_line(&mut self, line: &LogLine) {
        let mark = match line.origin {
            Origin::Kernel => None,
            Origin::Program | Origin::Unknown => marker::find(&line.text, &self.nonce, &self.key),
        };
        match mark {
            Some(Found::Sealed(mark)) => {
                if matches!(mark, Mark::End(_) | Mark::Farewell) {
                    self.log.pass(line);
                }
                return self.mark_case(mark);
            }
            // Of the agent before it had a key, or of anybody: no verdict depends on it.
            Some(Found::Open(mark)) => {
                if let Some(case) = self.current_case().filter(|case| case.is_open()) {
                    case.disorder =
                        Some(format!("a marker that the agent did not write: {mark:?}"));
                }
                return;
            }
            None => {}
        }
        if line.origin != Origin::Program {
            if self.last_lines.len() == LAST_LINES {
                self.last_lines.pop_front();
            }
            self.last_lines.push_back(line.text.clone());
        }
        let fatal = line.origin != Origin::Program && complaint::is_fatal(&line.text);
        if fatal {
            self.panic = Some(line.text.clone());
        }
        match self.current_case() {
            Some(case) if case.is_open() => case.line(line),
            _ if line.origin == Origin::Program => {}
            _ => drop(self.strays.take(&line.text, &[])),
        }
    }

    /// A marker of the agent's, in the kernel's log.
    fn mark_case(&mut self, mark: Mark) {
        // Nothing runs, so no verdict depends on it.
        let Some(case) = self.current_case() else { return };
        match mark {
            Mark::Begin(sequence) if sequence == case.sequence => case.begin_seen = true,
            Mark::Expect(what) if case.is_open() => case.expectations.declare(what),
            Mark::End(sequence) if sequence == case.sequence => {
                if !case.begin_seen {
                    case.disorder = Some("its begin marker is missing in the log".into());
                }
                case.end_seen = true;
                case.reports.finish();
            }
            Mark::Farewell => self.farewell = true,
            mark => case.disorder = Some(format!("a marker out of order in the log: {mark:?}")),
        }
    }
}
