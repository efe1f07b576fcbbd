//! The hidden subcommands: parts of a run that unshare, each a process of this executable.

use std::ffi::OsString;

use nix::sys::stat::Mode;

use crate::{isolation, runner, stage};

/// Serves a hidden subcommand and does not return, or returns if there is none.
///
/// `main` calls this before anything else: what follows unshares, and must have no threads.
pub(crate) fn entry() {
    let mut args = std::env::args_os().skip(1);
    let Some(first) = args.next() else { return };
    let rest: Vec<OsString> = args.collect();
    let serve = match first.to_str() {
        Some(isolation::STAGE) => stage::serve,
        Some(runner::RUNNER) => runner::serve,
        _ => match isolation::server_of(&first) {
            Some(serve) => serve,
            None => return,
        },
    };
    // What is made here is for guests, and the same whatever the user's own umask is.
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    match serve(&rest) {
        Ok(code) => std::process::exit(code),
        Err(error) => {
            eprintln!("{error:#}");
            std::process::exit(isolation::FAILED);
        }
    }
}
