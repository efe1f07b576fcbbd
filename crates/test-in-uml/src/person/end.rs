//! How a person's guest ended.

use std::process::ExitStatus;

use anyhow::{Result, bail};

/// How a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestEnd {
    /// The guest switched itself off.
    Off,
    /// The person left; the guest was cut off.
    Left,
}

/// The last words of a kernel that ends in order.
const LAST_WORDS: [&str; 3] = ["Power down", "System halted", "Restarting system"];

/// How much of the end of a console has such words, in bytes.
pub(super) const TAIL: usize = 8192;

/// The end that a guest's status and the end of its console mean. The exit status alone does not decide: some kernels abort now and
/// then after their last word.
pub(super) fn judge(status: Option<ExitStatus>, tail: &[u8]) -> Result<GuestEnd> {
    let said = String::from_utf8_lossy(tail);
    match status {
        Some(status) if status.success() => Ok(GuestEnd::Off),
        Some(_) if LAST_WORDS.iter().any(|words| said.contains(words)) => Ok(GuestEnd::Off),
        Some(status) => bail!("the guest did not end in order: {status}"),
        None => bail!("the guest's keeper was killed"),
    }
}
