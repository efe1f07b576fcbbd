//! How a process is confined: a root with the files that it needs and no others, no privilege, few system
//! calls, and limits.

mod mounts;
mod privileges;
mod seccomp;
mod sight;

pub(crate) use mounts::{bind, show};
pub(crate) use privileges::{
    NOBODY, Proc, ResourceLimits, close_others, drop_privileges, landlock, shut_in, try_landlock,
    try_own_user_namespace,
};
pub(crate) use seccomp::{SyscallFilter, try_filter};
pub use sight::Sight;
pub(crate) use sight::{prepare as prepare_roots, swap_roots};

/// Where S1 mounts the run's private tmpfs: guest memory, COWs, `uml_dir`.
///
/// It exists on every host, holds nobody's files, which a mount would hide from the guests, and is
/// short: the path of mconsole's socket must fit a `sockaddr_un`.
pub const DIR: &str = "/sys";

/// The device that taps are made with.
pub const TUN: &str = "/dev/net/tun";
