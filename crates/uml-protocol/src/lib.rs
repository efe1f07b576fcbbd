//! What the host and the agent in a guest agree upon: messages on the control link, and markers in
//! the kernel log.

use std::path::{Path, PathBuf};

pub mod bulk;
pub mod commands;
#[cfg(feature = "files")]
pub mod files;
pub mod interface;
pub mod lab;
pub mod marker;
pub mod wire;

/// The TCP port that the agent listens on.
pub const PORT: u16 = 7878;

/// Kernel parameter with the nonce of the run, which markers carry.
pub const NONCE_PARAMETER: &str = "uml_agent.nonce";

/// Kernel parameter of a link that the agent configures: `INTERFACE:ADDRESS:NETMASK`.
pub const LINK_PARAMETER: &str = "uml_agent.link";

/// Kernel parameter with the addresses of name servers, separated by commas, or [`BY_DHCP`].
pub const NAME_SERVERS: &str = "uml_agent.name_servers";

/// The name servers are those that a DHCP server has told the kernel.
pub const BY_DHCP: &str = "dhcp";

/// Kernel parameter that tells the image's own init to start the agent.
pub const SERVICE_PARAMETER: &str = "uml_agent.service";

/// Where the agent keeps what it is sent: in memory, so that a test that fills the disk does not
/// stop the next program from arriving.
pub const PROGRAMS: &str = "/run/uml-agent";

/// Where the agent keeps the program, or other file, with this hash.
pub fn path_of(hash: &wire::Hash) -> PathBuf {
    let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new(PROGRAMS).join(name)
}

/// What the environment of a case is made of; nothing of the host's is in it.
pub mod env {
    /// Where programs are searched for, in every case.
    pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    /// `1` in every case.
    pub const GUEST: &str = "UML_GUEST";
    /// `1` where a test binary lists its cases, shut in on the host.
    pub const LISTING: &str = "UML_LISTING";
    /// A fresh folder for each case; it is `HOME` and `TMPDIR` too.
    pub const CASE_DIR: &str = "UML_CASE_DIR";
    /// A case that cannot do its work here writes the reason to this file, and is "skipped".
    pub const SKIP_FILE: &str = "UML_SKIP_FILE";
    /// Number of the descriptor by which a case declares what its kernel will do: it sends an
    /// [`Expectation`](crate::marker::Expectation) as text, and gets a byte once that is noted.
    pub const DECLARATIONS: &str = "UML_DECLARATIONS_FD";
    /// Which attempt at the case this is, from 1: above that only with `--retries`.
    pub const ATTEMPT: &str = "UML_ATTEMPT";
    /// The modules that were built for this kernel, one `NAME PATH` a line.
    pub const MODULES: &str = "UML_MODULES";
    /// IPv4 address of the host end of the control link.
    pub const HOST_ADDR: &str = "UML_HOST_ADDR";
    /// TCP port of the peer on the host end.
    pub const HOST_PORT: &str = "UML_HOST_PORT";
    /// The lines that were asked of the kernel's configuration, one a line.
    pub const KERNEL_FRAGMENTS: &str = "UML_KERNEL_FRAGMENTS";
}
