//! The system calls of a program that is shut in: those by which a static program computes and
//! writes to what it was given. Nothing is opened, connected, started, mounted or signalled.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// What is granted whatever its arguments are.
const GRANTED: &[libc::c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // The descriptors that it has: its output.
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    // Its threads and signals.
    libc::SYS_arch_prctl,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    // What it is and what time it is.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_nanosleep,
    libc::SYS_uname,
    // Refused by a filter of its own, with the word that has the C library take clone(2).
    libc::SYS_clone3,
];

/// Installs the filter in this process for good; what is not granted fails with EPERM. `own` is its
/// id as it sees it.
///
/// # Errors
/// When this host has no such filters, or the process has not given up new privileges.
pub(super) fn install(own: i32) -> Result<()> {
    let refused = |errno: i32| SeccompAction::Errno(errno.cast_unsigned());
    let no_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    // Of two filters that refuse, the later one has the last word, and a refusal outweighs a grant.
    apply(no_clone3, SeccompAction::Allow, refused(libc::ENOSYS))?;
    apply(granted(own)?, refused(libc::EPERM), SeccompAction::Allow)
}

fn apply(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<()> {
    let filter = SeccompFilter::new(rules, otherwise, matching, TargetArch::x86_64)
        .context("the system call filter is wrong")?;
    let program = BpfProgram::try_from(filter).context("the system call filter is wrong")?;
    apply_filter(&program).context("this host refuses system call filters (seccomp(2))")
}

fn granted(own: i32) -> Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        GRANTED.iter().map(|&call| (call, Vec::new())).collect();
    let mut grant_where = |call, argument, values: &[u64], how: SeccompCmpOp| -> Result<()> {
        for &value in values {
            let length = SeccompCmpArgLen::Dword;
            let condition = SeccompCondition::new(argument, length, how.clone(), value)?;
            rules.entry(call).or_default().push(SeccompRule::new(vec![condition])?);
        }
        Ok(())
    };
    let number = |value: i32| u64::from(value.cast_unsigned());
    // A thread, and no process.
    let thread = number(libc::CLONE_THREAD);
    grant_where(libc::SYS_clone, 0, &[thread], SeccompCmpOp::MaskedEq(thread))?;
    // The program itself, by its descriptor: it has none of another.
    grant_where(libc::SYS_execveat, 4, &[number(libc::AT_EMPTY_PATH)], SeccompCmpOp::Eq)?;
    // fstat(3) of today's C library; what has a name lies in an empty root, or is as good as there.
    let by_descriptor = number(libc::AT_EMPTY_PATH);
    grant_where(libc::SYS_newfstatat, 3, &[by_descriptor], SeccompCmpOp::MaskedEq(by_descriptor))?;
    let flags = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL].map(number);
    grant_where(libc::SYS_fcntl, 1, &flags, SeccompCmpOp::Eq)?;
    // isatty(3).
    grant_where(libc::SYS_ioctl, 1, &[libc::TCGETS], SeccompCmpOp::Eq)?;
    let asked = [libc::PR_GET_SECCOMP, libc::PR_GET_NO_NEW_PRIVS, libc::PR_SET_NAME].map(number);
    grant_where(libc::SYS_prctl, 0, &asked, SeccompCmpOp::Eq)?;
    // abort(3).
    grant_where(libc::SYS_tgkill, 0, &[number(own)], SeccompCmpOp::Eq)?;
    // Its limits may be read, and no others'.
    let length = SeccompCmpArgLen::Qword;
    let reading = SeccompCondition::new(2, length, SeccompCmpOp::Eq, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![reading])?]);
    Ok(rules)
}
