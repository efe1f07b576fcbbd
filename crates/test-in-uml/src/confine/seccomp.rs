//! The system calls that User Mode Linux needs of its host (seccomp(2)); all others fail.
//!
//! They fail as if this host's kernel had none of them, so that a C library takes those that it has; and do not
//! kill: where a guest's kernel runs its processes under a filter of its own
//! (`seccomp=on` of Linux 6.16), their system calls come here too, and that filter catches what this one
//! refuses.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// What the kernel's code for its host, in arch/um/os-Linux and arch/um/drivers, calls by way of the C
/// library, what the C library needs itself, and what stubs in the guest's processes call.
const ALLOWED: &[libc::c_long] = &[
    // Memory.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_memfd_create,
    // Files, all of them in the guest's own root.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_lseek,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_fchmod,
    libc::SYS_umask,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_pipe,
    libc::SYS_pipe2,
    libc::SYS_ioctl,
    libc::SYS_eventfd2,
    // Linux 3.0 reads and writes its disk by these where there is a 2.6 API.
    libc::SYS_io_setup,
    libc::SYS_io_submit,
    libc::SYS_io_getevents,
    // Waiting.
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_pause,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_delete,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    // The management console, on whose socket nothing of the host can be reached.
    libc::SYS_bind,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_shutdown,
    // Signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
    // Processes, which are in a namespace of their own.
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_ptrace,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getpgrp,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_arch_prctl,
    libc::SYS_modify_ldt,
    libc::SYS_get_thread_area,
    libc::SYS_set_thread_area,
    libc::SYS_prctl,
    libc::SYS_seccomp,
    libc::SYS_personality,
    libc::SYS_prlimit64,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
];

/// What clone(2) makes that a guest has no use for: namespaces.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// The filter, compiled.
#[derive(Debug)]
pub(crate) struct SyscallFilter(BpfProgram);

impl SyscallFilter {
    /// Compiles it. Who has no tap connects to sockets of the stage instead.
    pub fn compile(connects: bool) -> Result<Self> {
        let mut calls: BTreeMap<i64, Vec<SeccompRule>> =
            ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
        let first = |op, value: i32| -> Result<Vec<SeccompRule>> {
            let value = u64::from(value.cast_unsigned());
            let is = SeccompCondition::new(0, SeccompCmpArgLen::Dword, op, value)?;
            Ok(vec![SeccompRule::new(vec![is])?])
        };
        if connects {
            calls.insert(libc::SYS_connect, Vec::new());
        }
        for call in [libc::SYS_socket, libc::SYS_socketpair] {
            calls.insert(call, first(SeccompCmpOp::Eq, libc::AF_UNIX)?);
        }
        // None of the bits of namespaces is set. What clone3(2) makes lies in memory, where no filter can
        // look.
        let mask = u64::from(NAMESPACES.cast_unsigned());
        calls.insert(libc::SYS_clone, first(SeccompCmpOp::MaskedEq(mask), 0)?);
        let refuse = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        let filter = SeccompFilter::new(calls, refuse, SeccompAction::Allow, TargetArch::x86_64)?;
        Ok(Self(filter.try_into().context("cannot compile a filter of system calls")?))
    }

    /// Puts it on this process, for ever.
    pub fn apply(&self) -> Result<()> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.0.len())?,
            filter: self.0.as_ptr().cast_mut().cast(),
        };
        // Before Linux 5.16 each filter made its process slower than the rest of the host (Speculation
        // Control in the kernel's documentation), and a guest's several processes gain nothing by it.
        let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
        // SAFETY: the program is one of `struct sock_filter`s, outlives the call, and is only read.
        let done = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &program)
        };
        nix::errno::Errno::result(done).map(drop).context("cannot filter system calls")
    }
}

/// Whether this host's kernel has filters of system calls.
pub(crate) fn try_filter() -> Result<()> {
    SyscallFilter::compile(false)?.apply()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nothing_is_allowed_that_reaches_beyond_a_guest() {
        let allowed: BTreeSet<_> = ALLOWED.iter().collect();
        assert_eq!(allowed.len(), ALLOWED.len(), "a system call is named twice");
        for call in [
            libc::SYS_connect,
            libc::SYS_listen,
            libc::SYS_accept4,
            libc::SYS_mount,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_process_vm_readv,
            libc::SYS_pidfd_open,
            libc::SYS_shmget,
            libc::SYS_mq_open,
            libc::SYS_clone3,
            libc::SYS_openat2,
            libc::SYS_open_by_handle_at,
            libc::SYS_mknod,
            libc::SYS_symlink,
            libc::SYS_link,
            libc::SYS_setuid,
            libc::SYS_capset,
        ] {
            assert!(!allowed.contains(&call), "system call {call}");
        }
        SyscallFilter::compile(false).unwrap();
    }
}
