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
    let both = [log.clone(), with_trace(&["WARNING: CPU: 0 PID: 1 at y.c:4 g+0x1/0x2"])].concat();
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
    let alone = ["FAULT_INJECTION: forcing a failure", "a", "b", "c", "d", "sysfs: something new"];
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
