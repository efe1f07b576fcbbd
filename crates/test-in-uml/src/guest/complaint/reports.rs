//! From the lines of a kernel's log to what it complains of. A complaint is a report of many lines: its
//! first, a message, registers, a call trace. A declaration that names any of them is about all of them,
//! and about no other report.

use std::collections::BTreeSet;

use uml_protocol::marker::Expectation;

use super::trace::{self, TracePlace};
use super::{ALL_TASKS, Complaint, Pattern, Severity};

/// More complaints than this are counted and not kept: there is no doubt any more.
const MOST_KEPT: usize = 100;

/// How many lines a report may have before its call trace is over.
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
    /// Whether a report was declared.
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
    /// How many lines it has after its first.
    lines: usize,
}

impl Open {
    /// Whether this is the line after that of a warning (`__warn()` in kernel/panic.c).
    fn is_fresh_warning(&self) -> bool {
        self.complaint.name == "warning" && self.lines == 1
    }

    /// Whether a line that no complaint begins with belongs to it.
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

    /// Whether the kernel complained of something that was declared.
    pub fn has_declared(&self) -> bool {
        self.declared
    }

    /// Takes away the complaints that turned out to be nobody's fault.
    pub fn excuse(&mut self, is_excused: impl Fn(&Complaint) -> bool) {
        self.undeclared.retain(|complaint| !is_excused(complaint));
    }

    /// Whether the kernel complained of this, declared or not.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// What the kernel complained of, declared or not.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied()
    }

    /// Whether a report has the death that was declared.
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
mod tests {
    use super::*;

    fn reports(log: &[&str], expectations: &[Expectation]) -> Reports {
        let mut reports = Reports::default();
        for line in log {
            reports.take(line, expectations);
        }
        reports.finish();
        reports
    }

    fn names(log: &[&str]) -> Vec<&'static str> {
        reports(log, &[]).undeclared().iter().map(|complaint| complaint.name).collect()
    }

    fn message(text: &str) -> Expectation {
        Expectation::Message(text.into())
    }

    const WARNING: &str = "WARNING: CPU: 0 PID: 1 at lib/x.c:3 f+0x1/0x2";
    const TRACE_LINES: [&str; 5] = [
        "Modules linked in: fault(O)",
        "CPU: 0 UID: 0 PID: 47 Comm: x Tainted: G           O       6.12.117 #1 ",
        "Call Trace:",
        " [<60534dad>] ? _printk+0x0/0x57",
        "---[ end trace 0000000000000000 ]---",
    ];

    fn with_trace(first: &[&'static str]) -> Vec<&'static str> {
        [first, &TRACE_LINES].concat()
    }

    #[test]
    fn a_warning_takes_its_own_message_and_no_other_complaint() {
        let message = "list_add corruption. prev->next should be next";
        assert_eq!(names(&[WARNING, message]), ["list-corruption"]);
        assert_eq!(names(&[WARNING, "BUG: something else"]), ["warning", "other-bug"]);
        assert_eq!(names(&[WARNING, "Modules linked in:", message]).len(), 2);
    }

    #[test]
    fn a_trace_belongs_to_the_report_before_it_and_is_one_of_its_own_elsewhere() {
        assert_eq!(names(&with_trace(&[WARNING, "a message"])), ["warning"]);
        let alone = reports(&with_trace(&["sysfs: something new"]), &[]);
        assert_eq!(alone.undeclared()[0].to_string(), "trace: sysfs: something new");
        let twice = [with_trace(&[WARNING]), with_trace(&["and then"])].concat();
        assert_eq!(names(&twice), ["warning", "trace"]);
        assert_eq!(names(&["Modules are fine", "Call me", "CPU: 0 is up"]), [""; 0]);
    }

    #[test]
    fn a_declaration_is_about_one_report_by_any_of_its_lines() {
        let log = with_trace(&[WARNING, "fault: warned as asked"]);
        for text in ["lib/x.c:3", "warned as asked", "_printk+0x0"] {
            let declared = reports(&log, &[message(text)]);
            assert!(declared.undeclared().is_empty() && declared.has_declared(), "{text}");
        }
        let both =
            [log.clone(), with_trace(&["WARNING: CPU: 0 PID: 1 at y.c:4 g+0x1/0x2"])].concat();
        let other = reports(&both, &[message("warned as asked")]);
        assert_eq!(other.undeclared().len(), 1);
        assert!(other.undeclared()[0].line.contains("y.c:4"));
        let plain = reports(&with_trace(&["odd: words"]), &[message("odd: words")]);
        assert!(plain.undeclared().is_empty());
    }

    #[test]
    fn a_declaration_excuses_nothing_that_came_before_it() {
        let mut reports = Reports::default();
        reports.take(WARNING, &[]);
        reports.take("a message", &[message("a message")]);
        reports.finish();
        assert_eq!(reports.undeclared().len(), 1);
    }

    #[test]
    fn a_flood_of_declared_complaints_hides_no_other() {
        let mut reports = Reports::default();
        let declared = [message("lib/x.c:3")];
        for number in 0..3000 {
            reports.take(WARNING, &declared);
            if number == 1500 {
                reports.take("BUG: KFENCE: use-after-free read in f+0x1/0x2", &declared);
            }
        }
        reports.finish();
        let names: Vec<_> = reports.undeclared().iter().map(|complaint| complaint.name).collect();
        assert_eq!(names, ["kfence"]);
        let flood = vec![WARNING; 3000];
        assert_eq!(names_len(&flood), MOST_KEPT);
    }

    fn names_len(log: &[&str]) -> usize {
        names(log).len()
    }

    #[test]
    fn a_declared_death_excuses_what_comes_after_it_and_nothing_before() {
        let death = [Expectation::Death("Kernel panic - not syncing: BUG!".into())];
        let panic = "Kernel panic - not syncing: BUG!";
        let expected = reports(&["BUG: failure at x.c:3/f()!", panic, "BUG: more"], &death);
        assert!(expected.has_declared_death() && expected.undeclared().is_empty());
        let first = reports(&[WARNING, "Modules linked in:", panic], &death);
        assert!(first.has_declared_death());
        assert_eq!(first.undeclared()[0].name, "warning");
        assert!(!reports(&["Kernel panic - not syncing: other"], &death).has_declared_death());
        let dumped = with_trace(&["SysRq : Trigger a crash"]);
        let at_once = reports(&[dumped.clone(), vec![panic]].concat(), &death);
        assert!(at_once.undeclared().is_empty(), "{:?}", at_once.undeclared());
        let apart = reports(&[dumped, vec!["all is well again", panic]].concat(), &death);
        assert_eq!(apart.undeclared()[0].name, TRACE);
        let undeclared = reports(&[with_trace(&["x"]), vec![panic]].concat(), &[]);
        assert_eq!(undeclared.undeclared()[0].name, "panic");
    }

    #[test]
    fn what_shows_all_tasks_is_no_complaint() {
        let asked = ["sysrq: Show State", "task:init state:S", "Call Trace:", " [<6>] f+0x1/0x2"];
        assert_eq!(names(&asked), [""; 0]);
        let alone =
            ["FAULT_INJECTION: forcing a failure", "a", "b", "c", "d", "sysfs: something new"];
        assert_eq!(names(&with_trace(&alone)), ["trace"]);
        let mand = "WARNING: The mand mount option has been deprecated and";
        assert_eq!(names(&with_trace(&[mand, "will be removed"])), ["trace"]);
        let oom = with_trace(&["x invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=0"]);
        assert_eq!(names(&oom), [""; 0]);
    }

    #[test]
    fn a_detector_that_has_spoken_is_spent_though_it_was_declared() {
        let declared = reports(&[WARNING], &[message("lib/x.c:3")]);
        assert!(declared.spent_detector().is_some());
        let tainted = reports(&["Disabling lock debugging due to kernel taint"], &[]);
        assert!(tainted.spent_detector().is_some() && tainted.undeclared().is_empty());
        assert!(reports(&["all is well"], &[]).spent_detector().is_none());
    }
}
