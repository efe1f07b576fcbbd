//! Where a guest's kernel has its heap, on a host that does not let us say so.
//!
//! User Mode Linux gives its guest the room between its own end and its heap as memory (`linux_main()` in
//! arch/um/kernel/um_arch.c), and with addresses at random that is up to a gibibyte: memory that costs, and that pushes the
//! modules of Linux 3.0 beyond the two gibibytes that their relocations reach. So the kernel is started, looked at before its
//! first instruction, and started again until the room is small.

use anyhow::{Context as _, Result};
use nix::libc;
use nix::sys::personality::{self, Persona};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::confine::Proc;

/// Turns randomisation off for what this process starts; false where the host refuses (Docker's seccomp profile does).
pub(super) fn settle() -> bool {
    let settled = personality::get();
    settled.and_then(|now| personality::set(now | Persona::ADDR_NO_RANDOMIZE)).is_ok()
}

/// Room that is small, in bytes: one in eight has it.
const SMALL: u64 = 128 << 20;

/// After so many attempts a kernel runs where it is.
const MOST: u32 = 100;

/// What became of a kernel that was to be placed.
pub(super) enum Placed {
    /// It runs.
    Runs(Pid),
    /// It ended before its first instruction, with this raw wait status.
    Ended(i32),
}

/// Has `start` start a kernel that is traced by us (PTRACE_TRACEME in ptrace(2)), until one is well placed.
pub(super) fn place(proc: Option<&Proc>, start: impl Fn() -> Result<Pid>) -> Result<Placed> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let child = start()?;
        let mut status = 0;
        // SAFETY: `status` is a valid place for waitpid(2) to write to.
        let pid = unsafe { libc::waitpid(child.as_raw(), &mut status, 0) };
        nix::errno::Errno::result(pid).context("cannot wait for a guest's kernel")?;
        if !libc::WIFSTOPPED(status) {
            return Ok(Placed::Ended(status));
        }
        let room = proc.and_then(|proc| proc.read(&format!("{child}/stat")).ok());
        let is_small =
            room.and_then(|stat| room_before_heap(&stat)).is_none_or(|room| room < SMALL);
        if is_small || attempts >= MOST {
            ptrace::detach(child, None).context("cannot let a guest's kernel go")?;
            return Ok(Placed::Runs(child));
        }
        kill(child, Signal::SIGKILL).context("cannot end a guest's kernel")?;
        while !matches!(waitpid(child, None), Ok(WaitStatus::Signaled(..)) | Err(_)) {}
    }
}

/// The bytes between the end of a program's data and its heap: the 46th and 47th fields of its `stat` (proc(5)).
fn room_before_heap(stat: &str) -> Option<u64> {
    // The third field is the first after the name, which is in brackets.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let (end_of_data, heap) = (field(46)?, field(47)?);
    (heap > 0).then(|| heap.saturating_sub(end_of_data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_read_where_the_host_tells_it() {
        let stat = |data: &str, heap: &str| {
            let fields: Vec<String> = (3..46).map(|number| number.to_string()).collect();
            format!("12 (a) b) {} {data} {heap} 48 49", fields.join(" "))
        };
        assert_eq!(room_before_heap(&stat("4096", "12288")), Some(8192));
        assert_eq!(room_before_heap(&stat("0", "0")), None, "it is not told to who may not trace");
        assert_eq!(room_before_heap("12 (short) R 1"), None);
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(room_before_heap(&own).is_some());
    }
}
