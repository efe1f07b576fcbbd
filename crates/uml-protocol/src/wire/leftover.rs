//! What cases leave behind.

use serde::{Deserialize, Serialize};

/// Something that a case left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leftover {
    /// A process, by its command.
    Process(String),
    /// A process that SIGKILL does not end, by its command: it is stuck in the kernel.
    Stuck(String),
    /// A mount, by its place.
    Mount(String),
    /// A kernel module, which is named but not unloaded.
    Module(String),
    /// A clock that was set, by so many seconds.
    Clock(i64),
    /// A mount that was there before and is gone, by its place.
    Unmounted(String),
    /// So many bytes more than before are taken on the file system at this place.
    Space(String, u64),
    /// A program or another file that the host sent, which is not what it was, by its place.
    Program(String),
    /// A setting of the kernel that was written to, by its file.
    Setting(String),
    /// A file of the packages that was written, made or removed, by its place.
    PackageFile(String),
    /// Something of the network that is not what it was: an interface, an address, a route, a queueing
    /// discipline.
    Network(String),
}
