//! From a suite and its packages to an image: bootstrap, overlay, manifest, agent, ext4.
//!
//! A root file system is one archive all the way, so that its owners, modes and nodes never have
//! to exist on the host, and no privilege is needed to have them right in the image.

mod accounts;
mod bootstrap;
mod image;
mod links;
mod manifest;
mod tree;

pub use bootstrap::{Rootfs, bootstrap};
pub use image::{AGENT, Image, build};
