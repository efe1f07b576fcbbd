//! The engine of `cargo xtask test-in-uml`: from a kernel's source and some Rust tests to a verdict.
//!
//! A workspace has a package `xtask` whose `main` is [`main`]; all else is for the tests of this crate.

pub mod archive;
pub mod cancel;
pub mod clean;
mod cli;
pub mod config;
mod confine;
pub mod ctx;
mod defaults;
pub mod doctor;
pub mod fetch;
pub mod guest;
pub mod guest_network;
mod hidden;
mod history;
mod host;
pub mod host_network;
mod init;
mod inputs;
mod invocation;
pub mod isolation;
pub mod kernel;
mod lab;
pub mod layout;
mod lock;
pub mod lockfile;
mod packet;
pub mod person;
pub mod record;
mod removal;
pub mod report;
pub mod rootfs;
mod runner;
pub mod runs;
mod socket_path;
mod source_folder;
pub mod space;
pub mod stage;
pub mod step;
pub mod store;
pub mod suite;
mod text;
mod threads;
pub mod ui;

pub use cli::{OwnCommand, image, test};

/// Does what the command line says.
///
/// The first thing of a program: where it is asked for the hidden parts of a guest's stage, it unshares, and
/// must have no threads.
pub fn main() -> std::process::ExitCode {
    hidden::entry();
    cli::main(&[])
}

/// The same with commands of the workspace's own.
pub fn main_with(own: &[OwnCommand]) -> std::process::ExitCode {
    hidden::entry();
    cli::main(own)
}
