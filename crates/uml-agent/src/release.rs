//! Releases of kernels.

use anyhow::{Context as _, Result};
use nix::sys::utsname::uname;

/// A kernel's release; older ones are less than newer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// The 6 of 6.12.1.
    pub major: u32,
    /// The 12 of 6.12.1.
    pub minor: u32,
}

impl Release {
    /// The release that a text begins with; nothing if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let mut next = || numbers.next().and_then(Result::ok);
        next().zip(next()).map(|(major, minor)| Self { major, minor })
    }
}

/// The release of the running kernel. It allocates nothing, so that a signal handler may ask.
///
/// # Errors
/// When uname(2) says something that is not a release.
pub fn release() -> Result<Release> {
    let name = uname().context("uname failed")?;
    let text = name.release().to_string_lossy();
    Release::parse(&text).with_context(|| format!("`{text}` is not a release"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_older_than_another_by_its_first_two_numbers() {
        let release = |text| Release::parse(text).unwrap();
        let limit = Release { major: 3, minor: 5 };
        for old in ["2.6.39", "3.0.1", "3.4.113-rt1", "3.0"] {
            assert!(release(old) < limit, "{old}");
        }
        for new in ["3.5.0", "3.10", "6.12.117", "7.3-rc1"] {
            assert!(release(new) >= limit, "{new}");
        }
        assert_eq!(Release::parse("next"), None);
    }
}
