//! What is said on the socket between us and S1.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::share::Share;
use crate::confine::Sight;
use crate::kernel::NetDriver;

/// A message with its number: who gave up waiting for a reply must not take it for another's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Numbered<T> {
    pub number: u64,
    pub message: T,
}

/// What we ask of S1.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StageRequest {
    /// Make the network and the folder of a guest.
    AddLink { index: u16 },
    /// Give a guest one more interface; the answer comes with sockets for its frames.
    AddInterface { index: u16, name: String, driver: NetDriver },
    /// Remove them, with what the guest left there.
    RemoveLink { index: u16 },
    /// Mount a file of the host into the stage's folder; its descriptor comes with it. A mount of another mount
    /// namespace cannot be bound by a descriptor (mount(2), EINVAL), so that the path is needed too.
    Expose { path: PathBuf, name: String },
    /// The same for a file that guests may write to.
    Lend { path: PathBuf, name: String },
    /// Make a disk; comes with what is in it.
    MakeDisk { name: String, size: u64 },
    /// Remove a disk.
    RemoveDisk { name: String },
    /// Take back what was lent under that name.
    Withdraw { name: String },
    /// Start a guest; comes with its console and its status pipe. The answer comes with a handle of its keeper where
    /// the kernel has such.
    Spawn {
        argv: Vec<OsString>,
        sight: Sight,
        share: Share,
        address_space: Option<u64>,
        index: u16,
    },
    /// Send a command to the management console of a link's guest.
    Mconsole { index: u16, command: String },
    /// Make a TCP socket in the network of a link, and send it back.
    Socket { index: u16 },
    /// Kill a keeper, and with it a guest.
    Kill { id: i32 },
}

/// What S1 answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The stage is there, in this folder.
    Begun { dir: PathBuf },
    /// It is done; `id` is a keeper's where one was started.
    Done { id: i32 },
    /// It failed.
    Failed { why: String },
}
