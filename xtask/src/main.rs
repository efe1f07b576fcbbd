//! The command line of `cargo xtask`.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    // What this serves unshares, and must have no threads: it comes before everything else.
    xtask::isolation::hidden_entry();
    cli::main()
}
