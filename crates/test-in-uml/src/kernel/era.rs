//! What differs between kernel eras: one table, so that nothing else asks for a version.

use std::fmt;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// A kernel's version as its Makefile tells it, without what changes within a stable series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Version {
    /// `VERSION`.
    pub major: u32,
    /// `PATCHLEVEL`.
    pub minor: u32,
}

impl Version {
    /// Reads the version out of the text of a tree's top Makefile.
    ///
    /// # Errors
    /// When the text says none.
    pub fn of_makefile(text: &str) -> Result<Self> {
        let number = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| key.trim() == name)
                .and_then(|(_, value)| value.trim().parse().ok())
                .with_context(|| format!("no {name} in it: this is not a kernel's Makefile"))
        };
        Ok(Self { major: number("VERSION")?, minor: number("PATCHLEVEL")? })
    }

    /// The era that a tree of this version belongs to.
    ///
    /// # Errors
    /// When the version is older than all that can be built here.
    pub fn era(self) -> Result<&'static Era> {
        ERAS.iter().rev().find(|era| era.from <= self).with_context(|| {
            format!("Linux {self} is older than {}, the oldest that is known here", ERAS[0].from)
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What holds for kernels from one version up, until the next era begins.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Era {
    /// The first version.
    pub from: Version,
    /// Variables on make's command line.
    pub variables: &'static [(&'static str, &'static str)],
    /// Flags beside the compiler's name, for what is built for the guest.
    pub compiler_flags: &'static [&'static str],
    /// `KCFLAGS`; `{source}` stands for the tree's path.
    pub kcflags: &'static [&'static str],
    /// The target that completes a configuration without a question.
    pub refresh: &'static str,
    /// The file that Kconfig begins with.
    pub kconfig: &'static str,
    /// What `linux/compiler-gccN.h` says for a compiler whose major version N the tree has no such
    /// header for.
    pub compiler_header: Option<&'static str>,
    /// Arguments that every guest is booted with.
    pub boot: &'static [&'static str],
    /// The number of objects a build has when none was counted yet.
    pub objects: usize,
}

/// All eras, in ascending order.
pub static ERAS: [Era; 2] = [
    Era {
        from: Version { major: 3, minor: 0 },
        // `uname -m` became `x86` for arch/um with the merge into arch/x86/um, in 3.2.
        variables: &[("SUBARCH", "x86_64")],
        // Compilers that make position-independent executables unasked are younger than it.
        compiler_flags: &["-fno-pie", "-no-pie"],
        // Later kernels do this by themselves (5.0: "kbuild: use -fmacro-prefix-map").
        kcflags: &["-fmacro-prefix-map={source}/="],
        // `olddefconfig` came with 3.7.
        refresh: "oldnoconfig",
        kconfig: "arch/um/Kconfig.x86",
        // One header holds for all compilers since 4.2.
        compiler_header: Some(include_str!("era/compiler-gcc.h")),
        boot: &[],
        objects: 900,
    },
    Era {
        // arch/um lost its own beginning of Kconfig in 5.0.
        from: Version { major: 5, minor: 0 },
        // Tools that no fragment asks for: which of them a host has would be in the configuration.
        variables: &[("RUSTC", "none"), ("PAHOLE", "none")],
        compiler_flags: &[],
        kcflags: &[],
        refresh: "olddefconfig",
        kconfig: "Kconfig",
        compiler_header: None,
        // Without it a guest that reboots begins again for ever. Before 6.0 it is not known, and
        // passed on to init.
        boot: &["noreboot"],
        objects: 930,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u32, minor: u32) -> Version {
        Version { major, minor }
    }

    #[test]
    fn the_version_is_read_from_the_makefile() {
        let text = "# SPDX-License-Identifier: GPL-2.0\nVERSION = 6\nPATCHLEVEL = 12\n\
                    SUBLEVEL = 117\nEXTRAVERSION =\n";
        assert_eq!(Version::of_makefile(text).unwrap(), version(6, 12));
        let error = Version::of_makefile("all:\n\techo\n").unwrap_err().to_string();
        assert!(error.contains("VERSION"), "{error}");
    }

    #[test]
    fn a_version_belongs_to_the_last_era_that_has_begun() {
        assert_eq!(version(3, 0).era().unwrap().refresh, "oldnoconfig");
        assert_eq!(version(6, 12).era().unwrap().refresh, "olddefconfig");
        assert_eq!(version(7, 3).era().unwrap().boot, ["noreboot"]);
        let error = version(2, 6).era().unwrap_err().to_string();
        assert!(error.contains("2.6") && error.contains("3.0"), "{error}");
    }

    #[test]
    fn eras_are_in_ascending_order() {
        assert!(ERAS.is_sorted_by(|a, b| a.from < b.from));
    }
}
