//! File systems that the running kernel can mount: the image's tools make those of today.

use std::path::Path;

use uml_agent::release::{Release, release};

/// The configuration of mke2fs(8) for kernels before 3.5.
const OLD: &str = "/etc/uml/mke2fs-before-3.5.conf";

/// The first kernel that knows all that mke2fs(8) makes by itself.
const FIRST: Release = Release { major: 3, minor: 5 };

/// The variable that names its configuration.
pub const VARIABLE: &str = "MKE2FS_CONFIG";

/// The configuration of mke2fs(8) that this kernel needs, if the image has it.
pub fn configuration() -> Option<&'static str> {
    let is_old = release().is_ok_and(|release| release < FIRST);
    (is_old && Path::new(OLD).exists()).then_some(OLD)
}
