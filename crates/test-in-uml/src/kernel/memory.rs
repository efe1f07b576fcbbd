//! How little memory a kernel boots with: what its detectors keep account in is taken before all else.

use anyhow::{Result, ensure};

use super::binary::KernelBinary;
use crate::config::ByteSize;

/// What a kernel with this line in its configuration needs, as boots with every size from 32M on have
/// shown: the locks' graph fits from 52M on, and the shadow memory of KASAN from 50M on.
const LEAST: [(&str, &str, ByteSize); 2] = [
    ("CONFIG_PROVE_LOCKING=y", "lockdep", ByteSize::mib(64)),
    ("CONFIG_KASAN=y", "KASAN", ByteSize::mib(64)),
];

impl KernelBinary {
    /// Checks that its guests come up with so much memory: with less they panic, or hang, before
    /// their console shows why.
    ///
    /// # Errors
    /// When they do not.
    pub fn check_memory(&self, memory: ByteSize) -> Result<()> {
        check(&self.name, &self.requested, memory)
    }
}

fn check(name: &str, requested: &[String], memory: ByteSize) -> Result<()> {
    for (line, detector, least) in LEAST {
        ensure!(
            memory >= least || !requested.iter().any(|asked| asked == line),
            "a guest of kernel {name} does not boot with {memory}, since {detector} needs more: give \
             it {least} at least (`memory` in the configuration)"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detectors_need_room() {
        let of = |line: &str, mib| check("k", &[line.to_owned()], ByteSize::mib(mib));
        of("CONFIG_NET=y", 32).unwrap();
        of("# CONFIG_KASAN is not set", 32).unwrap();
        for (line, detector, least) in LEAST {
            check("k", &[line.to_owned()], least).unwrap();
            let error = of(line, 48).unwrap_err().to_string();
            assert!(
                error.contains(detector) && error.contains("48M") && error.contains("64M"),
                "{error}"
            );
        }
    }
}
