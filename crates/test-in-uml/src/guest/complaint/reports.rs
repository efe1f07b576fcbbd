//! From the lines of a kernel's log to what it complains of. A complaint is a report of many lines: its
//! first, a message, registers, a call trace. A declaration that names any of them is about all of them,
//! and about no other report.

use std::collections::BTreeSet;

use uml_protocol::marker::Expectation;

use super::trace::{self, TracePlace};
use super::{ALL_TASKS, Complaint, Pattern, Severity};

/// More complaints than this are counted and not kept: there is no doubt any more.
const MOST_KEPT: usize = 100;

/// The number of lines a report may have before its call trace is over.
const LONGEST_REPORT: usize = 500;

/// How many lines after its first may say what a report is about, before its registers and call trace.
const LONGEST_MESSAGE: usize = 4;

/// Complaints with which a kernel begins that then panics because of them.
const LEAD_TO_PANIC: [&str; 5] = ["bug", "hung-task", "oops", "rcu-stall", "soft-lockup"];

/// The name of a call trace or a register dump that comes after no line of the table.
pub const TRACE: &str = "trace";

/// What a kernel complained of in a log, as the log goes on.
#[derive(Debug, Default)]
pub struct Reports {
    open: Option<Open>,
    /// The line before this one.
    previous: String,
    /// What nobody declared, in order.
    undeclared: Vec<Complaint>,
    /// How many more of these there were than are kept.
    dropped: usize,
    /// The declared death, if a report has it; what comes after that was declared with it.
    death: bool,
    /// True if a report was declared.
    declared: bool,
    /// The names of all complaints, declared or not.
    names: BTreeSet<&'static str>,
    /// Why a detector of the kernel says nothing more from now on.
    spent: Option<String>,
}

/// A report that goes on.
#[derive(Debug)]
struct Open {
    complaint: Complaint,
    severity: Severity,
    one_line: bool,
    /// How many declarations were made before it.
    declarations: usize,
    declared: bool,
    place: TracePlace,
    /// The number of lines it has after its first.
    lines: usize,
}

impl Open {
    /// Returns true if this is the line after that of a warning (`__warn()` in kernel/panic.c).
    fn is_fresh_warning(&self) -> bool {
        self.complaint.name == "warning" && self.lines == 1
    }

    /// Returns true if a line that no complaint begins with belongs to it.
    fn goes_on(&mut self, text: &str) -> bool {
        match self.complaint.name {
            // The tasks have call traces, and lines of their own between them.
            ALL_TASKS => true,
            // Not all notices come with a trace: they do not wait for that of another.
            _ if self.severity == Severity::Notice && self.place == TracePlace::Before => {
                !self.one_line && self.place.goes_on(text) && self.lines <= LONGEST_MESSAGE
            }
            _ => !self.one_line && self.place.goes_on(text) && self.lines <= LONGEST_REPORT,
        }
    }
}

impl Reports {
    /// Takes the next line of the kernel's own; says whether a complaint begins with it that nobody
    /// declared by it.
    pub fn take(&mut self, text: &str, expectations: &[Expectation]) -> bool {
        if trace::disables_detector(text) {
            self.spent.get_or_insert_with(|| text.into());
        }
        let begun = self.take_line(text, expectations);
        self.declare(text, expectations);
        self.previous.clear();
        self.previous.push_str(text);
        begun && self.open.as_ref().is_some_and(|open| !open.declared)
    }

    /// Adds the line to the report that is open, or begins another with it; says whether it did that.
    fn take_line(&mut self, text: &str, expectations: &[Expectation]) -> bool {
        let pattern = Pattern::of_line(text);
        if let Some(open) = &mut self.open {
            open.lines += 1;
            if pattern.is_some_and(|message| message.in_warning) && open.is_fresh_warning() {
                let name = pattern.map_or(TRACE, |message| message.name);
                let line = format!("{text} ({})", open.complaint.line);
                open.complaint = Complaint { name, line };
                return true;
            }
            if pattern.is_none() && open.goes_on(text) {
                return false;
            }
        }
        // A fault may show the registers before it panics (`segv()` in arch/um/kernel/trap.c).
        let is_panic = pattern.is_some_and(|pattern| pattern.severity == Severity::Fatal);
        self.open.take_if(|open| is_panic && open.complaint.name == TRACE);
        self.close();
        if let Some(pattern) = pattern {
            self.open(pattern, expectations, text);
            return pattern.severity != Severity::Notice;
        }
        if trace::begins(text) {
            self.open_trace(expectations, text);
            return true;
        }
        false
    }

    /// Declares the report that is open, if this line of it says what was declared before it.
    fn declare(&mut self, text: &str, expectations: &[Expectation]) {
        let Some(open) = &mut self.open else { return };
        let is_about_it = open.place == TracePlace::Within || open.lines <= LONGEST_MESSAGE;
        let before = expectations.iter().take(open.declarations);
        for expected in before.filter(|expected| is_about_it && expected.is_met_by(text)) {
            open.declared = true;
            if let Expectation::Death(_) = expected
                && !self.death
            {
                self.death = true;
                let leads = |complaint: &Complaint| LEAD_TO_PANIC.contains(&complaint.name);
                if open.severity == Severity::Fatal && self.undeclared.last().is_some_and(leads) {
                    self.undeclared.pop();
                }
            }
        }
    }

    fn open(&mut self, pattern: &Pattern, expectations: &[Expectation], line: &str) {
        self.open = Some(Open {
            complaint: Complaint { name: pattern.name, line: line.into() },
            severity: pattern.severity,
            one_line: pattern.one_line,
            declarations: expectations.len(),
            declared: false,
            place: TracePlace::Before,
            lines: 0,
        });
    }

    /// A dump after no line of the table: the line before it may say what it is about.
    fn open_trace(&mut self, expectations: &[Expectation], text: &str) {
        let line = match self.previous.as_str() {
            "" => text,
            previous => previous,
        };
        let declared = expectations.iter().any(|expected| expected.is_met_by(line));
        self.open = Some(Open {
            complaint: Complaint { name: TRACE, line: line.into() },
            severity: Severity::Failure,
            one_line: false,
            declarations: expectations.len(),
            declared,
            place: TracePlace::Within,
            lines: 0,
        });
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.severity == Severity::Notice {
            return;
        }
        self.spent.get_or_insert_with(|| open.complaint.to_string());
        self.names.insert(open.complaint.name);
        if open.declared || self.death {
            self.declared = true;
        } else if self.undeclared.len() < MOST_KEPT {
            self.undeclared.push(open.complaint);
        } else {
            self.dropped += 1;
        }
    }

    /// The log is over.
    pub fn finish(&mut self) {
        self.close();
    }

    /// What nobody declared, in order; of very many the first.
    pub fn undeclared(&self) -> &[Complaint] {
        &self.undeclared
    }

    /// Returns true if the kernel complained of something that was declared.
    pub fn has_declared(&self) -> bool {
        self.declared
    }

    /// Takes away the complaints that turned out to be nobody's fault.
    pub fn excuse(&mut self, is_excused: impl Fn(&Complaint) -> bool) {
        self.undeclared.retain(|complaint| !is_excused(complaint));
    }

    /// Returns true if the kernel complained of this, declared or not.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// What the kernel complained of, declared or not.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied()
    }

    /// Returns true if a report has the death that was declared.
    pub fn has_declared_death(&self) -> bool {
        self.death
    }

    /// Why a detector of this kernel says no more what it would say in a fresh guest: many speak once,
    /// or once in a while (WARN_ONCE, lockdep's `debug_locks`, a rate limit).
    pub fn spent_detector(&self) -> Option<&str> {
        self.spent.as_deref()
    }
}

#[cfg(test)]
mod tests;
