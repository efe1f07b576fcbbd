//! File systems that the running kernel can mount: the image's tools make those of today.

use std::path::Path;

use anyhow::{Context as _, Result};
use nix::sys::utsname::uname;

/// The configuration of mke2fs(8) for kernels before 3.5.
const OLD: &str = "/etc/uml/mke2fs-before-3.5.conf";

/// The variable that names its configuration.
pub const VARIABLE: &str = "MKE2FS_CONFIG";

/// The configuration of mke2fs(8) that this kernel needs, if the image has it.
pub fn configuration() -> Result<Option<&'static str>> {
    let name = uname().context("uname failed")?;
    Ok((is_old(&name.release().to_string_lossy()) && Path::new(OLD).exists()).then_some(OLD))
}

/// Returns true if this is a release before 3.5.
fn is_old(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok);
    next().zip(next()).is_some_and(|release| release < (3, 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_3_5_are_old() {
        for old in ["2.6.39", "3.0.1", "3.4.113-rt1", "3.0"] {
            assert!(is_old(old), "{old}");
        }
        for new in ["3.5.0", "3.10", "6.12.117", "7.3-rc1", "next"] {
            assert!(!is_old(new), "{new}");
        }
    }
}
