//! The engine of `cargo xtask test-in-uml`: from a kernel's source and some Rust tests to a verdict.
//!
//! The modules stand in the order in which a run passes through them.

pub mod archive;
pub mod cancel;
pub mod clean;
pub mod config;
pub mod ctx;
pub mod doctor;
pub mod fetch;
pub mod guest;
pub mod isolation;
pub mod kernel;
pub mod layout;
mod lock;
pub mod lockfile;
pub mod report;
pub mod rootfs;
pub mod runs;
pub mod shell;
pub mod space;
pub mod stage;
pub mod step;
pub mod store;
pub mod suite;
mod threads;
pub mod ui;
