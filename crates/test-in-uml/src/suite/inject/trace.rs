//! Which failure was injected last, and where, as the kernel's log has it (`fail_dump()` in lib/fault-inject.c).

use crate::guest::kernel_line::LogLine;

/// How its report begins.
const HEAD: &str = "FAULT_INJECTION: forcing a failure";

/// How functions begin that are between whoever asked and the failure.
const BETWEEN: [&str; 22] = [
    "show_stack",
    "dump_stack",
    "fail_dump",
    "should_fail",
    "__should_fail",
    "kmem_cache_alloc",
    "__kmem_cache_alloc",
    "__kmalloc",
    "kmalloc",
    "krealloc",
    "kvmalloc",
    "__kvmalloc",
    "slab_alloc",
    "slab_pre_alloc",
    "kmemdup",
    "kstrdup",
    "__alloc_pages",
    "alloc_pages",
    "__get_free_pages",
    "get_zeroed_page",
    "folio_alloc",
    "_printk",
];

/// `failslab in FUNCTION`, of the last failure that was injected before this line of the log, if any was.
pub fn last_injection(log: &[String], before: &str) -> Option<String> {
    let (mut name, mut place): (Option<&str>, Option<&str>) = (None, None);
    let lines = LogLine::texts(log);
    for line in &lines {
        let line = line.trim();
        if line == before.trim() {
            break;
        }
        if line.starts_with(HEAD) {
            (name, place) = (Some("a failure"), None);
        } else if let Some(rest) = line.strip_prefix("name ").filter(|_| name.is_some()) {
            name = Some(rest.split(',').next().unwrap_or(rest));
        } else if place.is_none() {
            place = function(line)
                .filter(|function| !BETWEEN.iter().any(|start| function.starts_with(start)));
        }
    }
    let name = name?;
    Some(place.map_or_else(|| name.to_owned(), |place| format!("{name} in {place}")))
}

/// The function of a line of a call trace, if the kernel is sure of it: ` [<60e17176>] dump_stack_lvl+0x73/0x85`.
fn function(line: &str) -> Option<&str> {
    let (_, rest) = line.strip_prefix("[<")?.split_once(">] ")?;
    let (name, _) = rest.split_once("+0x")?;
    let name = name.split_once('.').map_or(name, |(name, _)| name);
    (!name.starts_with('?')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> Vec<String> {
        text.lines().map(String::from).collect()
    }

    const TWO: &str = "\
[    1.000000] FAULT_INJECTION: forcing a failure.
[    1.000000] name failslab, interval 7, probability 100, space 0, times -1
[    1.000000] CPU: 0 UID: 0 PID: 42 Comm: case Not tainted 6.12.1 #1
[    1.000000] Call Trace:
[    1.000000]  [<60e17176>] dump_stack_lvl+0x73/0x85
[    1.000000]  [<60e17177>] ? _printk+0x0/0x57
[    1.000000]  [<60e17178>] should_fail_ex.cold+0x37/0x4c
[    1.000000]  [<60e17179>] kmem_cache_alloc_noprof+0x60/0x2d0
[    1.000000]  [<60e17180>] getname_flags.part.0+0x40/0x1c0
[    1.000000]  [<60e17181>] do_sys_open+0x40/0x1c0
[    1.100000] BUG: something
[    1.200000] FAULT_INJECTION: forcing a failure.
[    1.200000] name fail_page_alloc, interval 9, probability 100, space 0, times -1
";

    #[test]
    fn the_last_before_a_complaint_is_named_with_its_place() {
        let log = log(TWO);
        assert_eq!(last_injection(&log, "BUG: something").unwrap(), "failslab in getname_flags");
        assert_eq!(last_injection(&log, "nothing").unwrap(), "fail_page_alloc");
        assert_eq!(last_injection(&log[9..], "BUG: something"), None);
    }
}
