//! The wire protocol: a greeting each way, then length-prefixed messages over TCP.
//!
//! What arrives is never trusted: a length is checked before anything is allocated for it, and a
//! message must be whole and nothing but the message.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::marker::Key;

mod frame;
mod leftover;

pub use frame::{add_frame, greet, receive, send, send_frames};
pub use leftover::Leftover;

/// Version of the protocol; both sides must speak the same.
pub const VERSION: u16 = 12;

/// The longest message, in bytes. Programs are sent in chunks.
pub const LONGEST: usize = 1 << 20;

/// How much of a program fits one chunk, with room for its frame. An allocator maps anew, page by page,
/// what is much larger, and a fault of a page is dear in a guest: a mebibyte took twice as long.
pub const CHUNK: usize = (64 << 10) - 64;

/// The SHA-256 of a program.
pub type Hash = [u8; 32];

/// Why the other side cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other side is something else.
    #[error("the other side does not speak our protocol")]
    Magic,
    /// The other side is of another version.
    #[error("the other side speaks version {theirs} of the protocol, and we version {VERSION}")]
    Version {
        /// The version that it named.
        theirs: u16,
    },
    /// A message is longer than any may be.
    #[error("a message of {0} bytes is too long: the limit is {LONGEST}")]
    TooLong(usize),
    /// A message is not one of ours.
    #[error("a message cannot be understood: {0}")]
    Malformed(String),
    /// The connection ended within a message.
    #[error("the connection ended within a message")]
    Truncated,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// What the host says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGuest {
    /// The first message: seal every marker from now on.
    Seal(Key),
    /// There is a program; the agent answers [`ToHost::Have`] or [`ToHost::Need`].
    Offer {
        /// Its hash.
        hash: Hash,
        /// Its size in bytes.
        size: u64,
    },
    /// A piece of the program that was offered last.
    Chunk(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Run a case.
    Run(Box<Run>),
    /// The answer to [`ToHost::TimeIsOver`]: how long the case may still take, if at all.
    MoreTime(Duration),
    /// Switch the guest off.
    PowerOff {
        /// Whether to look for lost memory before that, where the kernel can.
        search: bool,
    },
}

/// A case to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its sequence number in this guest, which its markers carry.
    pub sequence: u32,
    /// Which program.
    pub program: Hash,
    /// Where it is called at, if that is not where the agent keeps it: a place that leads there.
    pub called: Option<String>,
    /// The program's arguments.
    pub args: Vec<String>,
    /// Variables beside those that the agent sets.
    pub env: Vec<(String, String)>,
    /// After this long the host is asked whether the case is to be ended.
    pub timeout: Duration,
    /// Whether the program is one of libtest's that writes its own word into a file.
    pub word: Word,
    /// True if it need not end by itself: nobody wants to know where it is when its time is over.
    pub lasts: bool,
    /// True if what it leaves behind stays: the guest is not for cases, and this is one of several things done in it.
    pub leave: bool,
    /// The folder that it runs in; without one, it is the case's own.
    pub package: Option<PackageFolder>,
    /// Links that have to be there: where, and to what.
    pub links: Vec<(String, String)>,
    /// What fails of that which its processes ask of the kernel.
    pub injections: Vec<Injection>,
}

/// Failures of a kind that are put into what a case's own processes ask of the kernel
/// (Documentation/fault-injection/fault-injection.rst).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injection {
    /// The kind, by its folder in debugfs, for example `failslab`.
    pub kind: String,
    /// One of so many requests fails.
    pub interval: u32,
    /// None fails before they have come to so much, in what the kind counts: bytes, or pages.
    pub space: u32,
}

/// A package's folder, which guests have where the host has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageFolder {
    /// Its place.
    pub path: String,
    /// The tar archive of all that the guest has of packages: of places below `/`.
    pub archive: Hash,
    /// The folders of the archive that are to be there, none of them in another.
    pub roots: Vec<String>,
}

/// Where a program says how its case ended, beside its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// On its standard output, with all else that it writes.
    Stdout,
    /// In a file that it is given by `--logfile`, and nobody else writes to.
    LogFile,
}

/// Whose memory was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Owner {
    /// This case was running.
    Case(u32),
    /// No case was: this one had just ended. A timer, or work, that it left behind.
    After(u32),
    /// No case had run yet, or none that is remembered.
    Nobody,
}

/// Memory of the kernel that was lost, in a few words, and whose it is.
pub type Leaks = Vec<(Owner, String)>;

/// A piece of the kernel's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Log {
    /// All that was there when the agent began to read, as syslog(2) gives it.
    Boot {
        /// What.
        #[serde(with = "serde_bytes")]
        text: Vec<u8>,
        /// True if the kernel keeps records, and so knows its own lines from those of programs.
        records: bool,
    },
    /// Whole records of /dev/kmsg.
    Records(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Of a kernel before 3.5: what /proc/kmsg gave, cut anywhere.
    Text {
        /// What.
        #[serde(with = "serde_bytes")]
        text: Vec<u8>,
        /// True if the kernel may have had no room for lines before these.
        lost: bool,
    },
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHost {
    /// The first message.
    Hello {
        /// The kernel's release, as uname(2) gives it.
        release: String,
    },
    /// The program that was offered is here already.
    Have,
    /// The program that was offered is wanted.
    Need,
    /// The program arrived and has the right hash.
    Stored,
    /// A case wrote something.
    Output {
        /// Where to.
        stream: Stream,
        /// What.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// What the kernel said.
    Log(Log),
    /// A case has had its time, by the guest's clock; the agent waits for [`ToGuest::MoreTime`].
    TimeIsOver,
    /// A case is over, and all of its log was sent.
    Exited(Exit),
    /// Before the guest is switched off, its kernel looks for memory that was lost: that takes some
    /// seconds.
    SearchesForLeaks,
    /// What that found, and whose it is, if it found anything.
    Leaks(Leaks),
    /// The guest is about to be switched off; the last message.
    Farewell,
    /// What was asked cannot be done.
    Failed(String),
}

/// An output stream of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The case's sequence number.
    pub sequence: u32,
    /// How its process ended.
    pub end: ProcessEnd,
    /// From start to end of its process, by the guest's clock.
    pub duration: Duration,
    /// Why the case could not do its work here, if it says so.
    pub skip: Option<String>,
    /// What the case left behind; the agent has ended it.
    pub leftovers: Vec<Leftover>,
    /// The modules that the case loaded, also those that it unloaded again.
    pub loaded: Vec<String>,
    /// The kernel's taint flags that were added meanwhile, as bits of /proc/sys/kernel/tainted.
    pub tainted: u64,
    /// The contents of its file, with [`Word::LogFile`].
    pub word: Option<String>,
    /// If the kernel said meanwhile that memory was lost: all that was, and whose it is.
    pub leaks: Option<Leaks>,
}

impl Exit {
    /// Of a case of which nothing else is known.
    pub fn plain(
        sequence: u32,
        end: ProcessEnd,
        duration: Duration,
        skip: Option<String>,
        word: Option<String>,
    ) -> Self {
        let (leftovers, loaded, tainted, leaks) = (Vec::new(), Vec::new(), 0, None);
        Self { sequence, end, duration, skip, leftovers, loaded, tainted, word, leaks }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessEnd {
    /// It exited with this code.
    Code(i32),
    /// A signal killed it.
    Signal(i32),
    /// It took too long, and the agent killed it.
    TimedOut,
}
