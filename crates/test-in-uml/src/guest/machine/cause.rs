//! Why a guest went, or a case was killed, by the last lines of its kernel: power-off, restart and an
//! end by the host are otherwise all "lost".

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nix::libc;

/// What the kernel says last when it goes by itself, and what that means. Before 3.9 these lines have no
/// `reboot: ` in front, and end with a full stop (kernel/reboot.c, drivers/tty/sysrq.c, mm/oom_kill.c).
const ENDS: [(&str, &str); 6] = [
    ("Restarting system", "the guest was rebooted"),
    ("System halted", "the guest was halted"),
    ("Power off not available: System halted", "the guest was halted"),
    ("Power down", "the guest was powered off"),
    ("System is deadlocked on memory", NO_MEMORY),
    ("Out of memory and no killable processes", NO_MEMORY),
];

const NO_MEMORY: &str = "the guest had no memory left, and no process that may be killed for some";

/// What stands in front of such a line, if anything does.
const BEFORE: [&str; 3] = ["reboot: ", "Kernel panic - not syncing: ", ""];

/// SysRq `b`, on 3.0 and on later kernels: it restarts without another word.
const RESET: [&str; 2] = ["SysRq : Resetting", "sysrq: Resetting"];

/// Why a guest went whose kernel said this last, and whose process ended like this: a name for it, if there
/// is a better one than the status.
///
/// The lines are those of the kernel alone, without stamps, in order. The status is that of the guest's
/// process, and there is none if its keeper was killed, as we do it.
pub fn of_guest<'a>(
    last: impl DoubleEndedIterator<Item = &'a str>,
    status: Option<ExitStatus>,
) -> Option<String> {
    last.rev().find_map(of_line).or_else(|| of_status(status?))
}

fn of_line(line: &str) -> Option<String> {
    if RESET.iter().any(|reset| line.starts_with(reset)) {
        return Some("the guest was reset by SysRq b".into());
    }
    if let Some(killed) = Killed::of_line(line)
        && killed.pid == 1
    {
        return Some(format!(
            "the guest's out-of-memory killer ended its init, {}",
            killed.name.escape_debug()
        ));
    }
    let said = |what: &str| BEFORE.iter().any(|before| is_line_of(line, before, what));
    ENDS.iter().find(|(what, _)| said(what)).map(|(_, name)| (*name).to_owned())
}

fn is_line_of(line: &str, before: &str, what: &str) -> bool {
    line.strip_prefix(before).is_some_and(|line| line.starts_with(what))
}

/// What a signal says that came from without: UML ends itself by others.
fn of_status(status: ExitStatus) -> Option<String> {
    match status.signal()? {
        libc::SIGKILL => {
            Some("the host killed it with signal 9 (out of memory on the host?)".into())
        }
        libc::SIGBUS => Some(
            "signal 7 ended its process: the host had no room for its memory, or for its disk"
                .into(),
        ),
        _ => None,
    }
}

/// A process that the kernel killed, so that others had memory.
struct Killed<'a> {
    pid: u32,
    name: &'a str,
}

impl<'a> Killed<'a> {
    /// `Killed process 43 (sh) total-vm:…`; later kernels have `Out of memory: ` in front, or `Memory
    /// cgroup out of memory: `.
    fn of_line(line: &'a str) -> Option<Self> {
        let (before, rest) = line.split_once("Killed process ")?;
        let is_of_the_killer = before.is_empty() || before.ends_with(": ");
        let (pid, rest) = rest.split_once(" (").filter(|_| is_of_the_killer)?;
        // A name may hold any character.
        let (name, _) = rest.rsplit_once(") total-vm:")?;
        Some(Self { pid: pid.parse().ok()?, name })
    }
}

/// What the out-of-memory killer of a guest ended while a case ran, for beside a case that died of signal
/// 9. The lines are those of the case's kernel log.
pub fn out_of_memory<'a>(log: impl DoubleEndedIterator<Item = &'a str>) -> Option<String> {
    let killed = log.rev().find_map(Killed::of_line)?;
    let pid = killed.pid;
    Some(match is_test_program(killed.name) {
        true => format!("the guest's out-of-memory killer ended the test program, process {pid}"),
        false => {
            let name = killed.name.escape_debug();
            format!("the guest's out-of-memory killer ended process {pid} ({name})")
        }
    })
}

/// Programs lie in the guest by their hash, of which the kernel keeps fifteen characters.
fn is_test_program(name: &str) -> bool {
    name.len() == 15 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str], raw: Option<i32>) -> Option<String> {
        of_guest(lines.iter().copied(), raw.map(ExitStatus::from_raw))
    }

    #[test]
    fn an_end_is_named_by_what_the_kernel_said_last() {
        for (line, expected) in [
            // 3.0
            ("Restarting system.", "the guest was rebooted"),
            ("System halted.", "the guest was halted"),
            ("Power down.", "the guest was powered off"),
            ("SysRq : Resetting", "the guest was reset by SysRq b"),
            ("Kernel panic - not syncing: Out of memory and no killable processes...", NO_MEMORY),
            // 6.12 and 7.3
            ("reboot: Restarting system", "the guest was rebooted"),
            ("reboot: Restarting system with command 'x'", "the guest was rebooted"),
            ("reboot: System halted", "the guest was halted"),
            ("reboot: Power off not available: System halted instead", "the guest was halted"),
            ("reboot: Power down", "the guest was powered off"),
            ("sysrq: Resetting", "the guest was reset by SysRq b"),
            ("Kernel panic - not syncing: System is deadlocked on memory", NO_MEMORY),
        ] {
            let lines = ["EXT4-fs (ubda): re-mounted", line, "a line of another CPU"];
            assert_eq!(of(&lines, Some(0)).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn an_end_that_was_begun_twice_is_named_by_the_second() {
        let lines = ["reboot: System halted", "sysrq: Resetting"];
        assert_eq!(of(&lines, Some(0)).unwrap(), "the guest was reset by SysRq b");
    }

    #[test]
    fn an_init_that_was_killed_for_memory_is_named() {
        let lines = [
            "Out of memory: Killed process 1 (init) total-vm:4kB, anon-rss:0kB",
            "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009",
        ];
        let name = "the guest's out-of-memory killer ended its init, init";
        assert_eq!(of(&lines, Some(6)).as_deref(), Some(name));
    }

    #[test]
    fn what_the_host_did_is_not_taken_for_the_guests() {
        let lines = ["random: crng init done"];
        let killed = "the host killed it with signal 9 (out of memory on the host?)";
        assert_eq!(of(&lines, Some(9)).as_deref(), Some(killed));
        assert!(of(&lines, Some(7)).unwrap().contains("no room"));
        // UML aborts itself, exits by itself, and we kill its keeper.
        for status in [Some(6), Some(0), Some(1 << 8), None] {
            assert_eq!(of(&lines, status), None);
        }
    }

    #[test]
    fn other_lines_with_the_same_words_name_nothing() {
        for line in [
            "my driver: Power down",
            "fault: System halted",
            "sysrq: Show Blocked State",
            "Killed process 1 by hand",
            "[drm] Killed process 1 (init) total-vm:1kB",
        ] {
            assert_eq!(of(&[line], Some(0)), None, "{line}");
        }
    }

    #[test]
    fn the_victim_of_the_out_of_memory_killer_is_named() {
        let killed = |line| out_of_memory(["sh invoked oom-killer", line, "Mem-Info:"].into_iter());
        let of = |pid_and_name: &str| {
            Some(format!("the guest's out-of-memory killer ended {pid_and_name}"))
        };
        for (line, expected) in [
            // 3.0, after `Out of memory: Kill process 43 (sh) score 912 or sacrifice child`.
            (
                "Killed process 43 (sh) total-vm:181920kB, anon-rss:111528kB, file-rss:4kB",
                "43 (sh)",
            ),
            ("Killed process 43 (a) (b) total-vm:1kB", "43 (a) (b)"),
            ("Out of memory: Killed process 7 (my prog) total-vm:1kB, UID:0", "7 (my prog)"),
            ("Memory cgroup out of memory: Killed process 7 (x) total-vm:1kB", "7 (x)"),
            (
                "Out of memory (oom_kill_allocating_task): Killed process 7 (x) total-vm:1kB",
                "7 (x)",
            ),
        ] {
            assert_eq!(killed(line), of(&format!("process {expected}")), "{line}");
        }
        let hash = "Out of memory: Killed process 43 (6092ccfdf80fdf4) total-vm:181920kB";
        assert_eq!(killed(hash), of("the test program, process 43"));
        assert_eq!(killed("Out of memory: Kill process 43 (sh) score 9 or sacrifice child"), None);
    }
}
