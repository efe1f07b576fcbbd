//! From a kernel's source to a kernel binary: unpack, patch, configure, verify, make, store.
//!
//! The same inputs are never built twice: a kernel is found by its recipe, and when it is there,
//! nothing is fetched, unpacked or started.

mod binary;
mod build;
mod complaints;
mod configure;
mod default;
pub mod era;
mod fragment;
#[cfg(test)]
mod fuzz;
mod kconfig;
mod kit;
mod make;
mod memory;
mod modules;
mod net_driver;
mod own_tree;
mod patches;
mod progress;
mod recipe;
mod scan;
mod source;
mod tree;
mod verify;
mod work;

pub use binary::KernelBinary;
pub use build::{build, build_archive, build_tree};
pub use configure::KernelConfig;
pub use default::{build_default, fetch_default, source_path};
pub use era::{Era, Version};
pub use fragment::{ConfigRequest, Requested, Values, all_fragments};
pub use modules::{Module, build as build_modules};
pub use net_driver::NetDriver;
pub use recipe::{Toolchain, compiler_name};
pub use source::KernelSource;
pub use tree::KernelTree;
