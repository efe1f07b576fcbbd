//! Declaring what the kernel will do: what is declared is no failure, and its absence is one.

use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::libc;
use uml_protocol::marker::Expectation;

/// The longest text, in bytes: with its marker it fits a line of the kernel log.
const LONGEST: usize = 200;

/// Declares that the kernel log will have a line with `text` in it before this case ends.
///
/// A complaint of the kernel with `text` in its line then does not fail the case; if no line has
/// it, the case fails.
///
/// # Errors
/// When `text` is empty, longer than 200 bytes, begins or ends with a blank, or is not printable on
/// one line, or the agent does not answer.
pub fn expect_kernel(text: &str) -> Result<()> {
    declare(text, Expectation::Message)
}

/// Declares that the guest will not outlive this case, and that `text` will be in a line that its
/// kernel says by then, such as `Kernel panic - not syncing: sysrq triggered crash`.
///
/// The case then passes if that is how its guest ends, and fails if the guest lives or ends in
/// another way. It is the last thing that a case declares.
///
/// # Errors
/// As [`expect_kernel`].
pub fn expect_death(text: &str) -> Result<()> {
    declare(text, Expectation::Death)
}

fn declare(text: &str, what: fn(String) -> Expectation) -> Result<()> {
    // The console keeps no blanks at the end of a line.
    let plain = !text.is_empty() && text == text.trim() && !text.chars().any(char::is_control);
    ensure!(plain && text.len() <= LONGEST, "{text:?} is not a text to look for in a line");
    let number: RawFd = std::env::var(crate::env::DECLARATIONS)
        .context("the agent takes no declarations")?
        .parse()
        .context("the agent names no descriptor")?;
    // SAFETY: the agent opened the descriptor for this process, and nobody closes it.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    let message = what(text.to_owned()).to_string();
    let mut answer = [0_u8; 1];
    // SAFETY: both calls get buffers with their lengths; a socket of this kind keeps messages whole.
    unsafe {
        let sent = libc::send(
            socket.as_raw_fd(),
            message.as_ptr().cast(),
            message.len(),
            libc::MSG_NOSIGNAL,
        );
        Errno::result(sent).context("the agent does not take declarations any more")?;
        let received = libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), 1, 0);
        ensure!(Errno::result(received)? == 1, "the agent does not answer to a declaration");
    }
    Ok(())
}
