//! Limits that end builds and guests in the middle: memory and processes of a control group, and the
//! limits of this process.

use nix::sys::resource::{Resource, getrlimit};

use super::{Finding, finding};
use crate::host::{memory_left, processes_left};

/// What a compiler on each CPU and a guest need, roughly.
const MEMORY_NEEDED: u64 = 1 << 30;

/// Processes of a build on a few CPUs, and of a guest.
const PROCESSES_NEEDED: u64 = 100;

pub(super) fn memory() -> Finding {
    let left = memory_left();
    let seen = left.filter(|bytes| *bytes < MEMORY_NEEDED).map(|bytes| {
        format!("{} MiB are available where {} are needed", bytes >> 20, MEMORY_NEEDED >> 20)
    });
    let cure = "end other programs, or raise the limit of the container or control group";
    finding("memory", seen, "builds and guests may be killed", cure)
}

pub(super) fn processes() -> Finding {
    let seen = processes_left()
        .filter(|left| *left < PROCESSES_NEEDED)
        .map(|left| format!("room for {left} processes where {PROCESSES_NEEDED} are needed"));
    let cure = "raise pids.max of the control group (docker run --pids-limit, systemd's TasksMax)";
    finding("processes", seen, "builds and guests fail to start processes", cure)
}

/// A limit of this process, and what is needed of it.
struct HostLimit {
    resource: Resource,
    option: &'static str,
    /// In the unit of the resource.
    needed: u64,
    effect: &'static str,
}

/// An image's file is the largest that is written; an old kernel's guest maps the most.
const LIMITS: [HostLimit; 4] = [
    HostLimit {
        resource: Resource::RLIMIT_NOFILE,
        option: "-n",
        needed: 256,
        effect: "builds cannot open their files",
    },
    HostLimit {
        resource: Resource::RLIMIT_NPROC,
        option: "-u",
        needed: PROCESSES_NEEDED,
        effect: "builds and guests fail to start processes",
    },
    HostLimit {
        resource: Resource::RLIMIT_FSIZE,
        option: "-f",
        needed: 4 << 30,
        effect: "an image or a kernel is too large to be written",
    },
    HostLimit {
        resource: Resource::RLIMIT_AS,
        option: "-v",
        needed: 4 << 30,
        effect: "compilers, linkers and guests cannot map their memory",
    },
];

/// How large a file of this process may be, in bytes.
pub(super) fn largest_file() -> u64 {
    getrlimit(Resource::RLIMIT_FSIZE).map_or(u64::MAX, |(soft, _)| soft)
}

/// The limits of this process that are too low (getrlimit(2)).
pub(super) fn of_process() -> impl Iterator<Item = Finding> {
    LIMITS.iter().map(|limit| {
        let soft = getrlimit(limit.resource).map_or(u64::MAX, |(soft, _)| soft);
        let seen = (soft < limit.needed)
            .then(|| format!("the limit is {soft} where {} are needed", limit.needed));
        let name = format!("ulimit {}", limit.option);
        let cure = format!("ulimit {} unlimited, or raise it in limits.conf(5)", limit.option);
        finding(&name, seen, limit.effect, &cure)
    })
}
