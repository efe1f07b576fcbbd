//! Failures that are put into what cases ask of their kernel (Documentation/fault-injection/fault-injection.rst).

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use uml_protocol::wire::Injection;

use super::seed::random_seed;
use crate::config::hint;
use crate::guest::Complaint;

mod trace;

pub(super) use trace::last_injection;

/// A kind of failure: its folder in debugfs, and what the kernel's configuration calls it.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    symbol: &'static str,
    /// What it counts of one request, roughly.
    size: u32,
}

const KINDS: [Kind; 5] = [
    Kind { name: "failslab", symbol: "FAILSLAB", size: 128 },
    Kind { name: "fail_page_alloc", symbol: "FAIL_PAGE_ALLOC", size: 1 },
    Kind { name: "fail_usercopy", symbol: "FAULT_INJECTION_USERCOPY", size: 1 },
    Kind { name: "fail_futex", symbol: "FAIL_FUTEX", size: 1 },
    Kind { name: "fail_make_request", symbol: "FAIL_MAKE_REQUEST", size: 4096 },
];

/// By what they are controlled.
const CONTROL: &str = "FAULT_INJECTION_DEBUG_FS";

/// Which failures are put into what cases ask of their kernel, and how many.
#[derive(Debug, Clone)]
pub struct Inject {
    kinds: Vec<&'static Kind>,
    /// Of a hundred requests, so many fail.
    percent: f64,
    /// What decides which.
    seed: u64,
}

impl FromStr for Inject {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let form = "write KIND[,KIND…]:PERCENT[,SEED], as in failslab,fail_page_alloc:1";
        let (kinds, rest) = text.split_once(':').context(form)?;
        let (percent, seed) = match rest.split_once(',') {
            Some((percent, seed)) => (percent, seed.parse().context(form)?),
            None => (rest, random_seed()),
        };
        let percent: f64 = percent.trim_end_matches('%').parse().context(form)?;
        ensure!(percent > 0.0 && percent <= 100.0, "{percent} is no percentage: {form}");
        let kinds = kinds.split(',').map(|name| {
            let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
                bail!("there is no `{name}`{}", hint(name, KINDS.iter().map(|kind| kind.name)));
            };
            Ok(kind)
        });
        Ok(Self { kinds: kinds.collect::<Result<_>>()?, percent, seed })
    }
}

impl fmt::Display for Inject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name).collect();
        write!(f, "{}:{},{}", kinds.join(","), self.percent, self.seed)
    }
}

impl Inject {
    /// Returns true if a kernel only says that it met such a failure.
    pub(super) fn excuses(&self, complaint: &Complaint) -> bool {
        const OF_MEMORY: [&str; 1] = ["page-allocation"];
        const OF_DISKS: [&str; 3] = ["io-error", "ext4-error", "fs-error"];
        let meets_disks = self.kinds.iter().any(|kind| kind.name == "fail_make_request");
        OF_MEMORY.contains(&complaint.name) || (meets_disks && OF_DISKS.contains(&complaint.name))
    }

    /// What a kernel's configuration has to have for it.
    pub(super) fn needs(&self) -> impl Iterator<Item = &'static str> {
        [CONTROL].into_iter().chain(self.kinds.iter().map(|kind| kind.symbol))
    }

    /// What fails of what the case of that name asks for: the same for the same seed.
    pub(super) fn of_case(&self, case: &str) -> Vec<Injection> {
        // The percentage is positive, and nobody waits for the four billionth request.
        let usual = (100.0 / self.percent).round().clamp(1.0, 1e9) as u32;
        let kinds = self.kinds.iter().map(|kind| {
            let hash = Sha256::digest(format!("{} {case} {}", self.seed, kind.name));
            let number = |at: usize| {
                u32::from_be_bytes([hash[at], hash[at + 1], hash[at + 2], hash[at + 3]])
            };
            // From half of it to half more.
            let interval = (usual / 2 + number(0) % usual).max(1);
            let space = number(4) % usual.saturating_mul(kind.size);
            Injection { kind: kind.name.into(), interval, space }
        });
        kinds.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_what_fails_of_each_case() {
        let inject: Inject = "failslab,fail_page_alloc:1,7".parse().unwrap();
        assert_eq!(inject.to_string(), "failslab,fail_page_alloc:1,7");
        let of = |text: &str, case| text.parse::<Inject>().unwrap().of_case(case);
        let first = of("failslab,fail_page_alloc:1,7", "ext4 acls");
        assert_eq!(first, inject.of_case("ext4 acls"));
        assert_eq!(first.len(), 2);
        assert!(first.iter().all(|one| (50..150).contains(&one.interval)), "{first:?}");
        assert_ne!(first, inject.of_case("ext4 quota"));
        assert_ne!(first, of("failslab,fail_page_alloc:1,8", "ext4 acls"));
        assert_eq!(of("failslab:100,1", "x")[0].interval, 1, "every one");
        assert_ne!(
            "failslab:1".parse::<Inject>().unwrap().seed,
            "failslab:1".parse::<Inject>().unwrap().seed
        );
        let needs: Vec<_> = inject.needs().collect();
        assert_eq!(needs, ["FAULT_INJECTION_DEBUG_FS", "FAILSLAB", "FAIL_PAGE_ALLOC"]);
    }

    #[test]
    fn what_is_no_injection_says_why() {
        for (wrong, why) in [
            ("failslab", "write KIND"),
            ("failslb:1", "did you mean `failslab`?"),
            ("failslab:0", "no percentage"),
            ("failslab:101", "no percentage"),
            ("failslab:NaN", "no percentage"),
            ("failslab:x", "write KIND"),
            ("failslab:1,x", "write KIND"),
            (":1", "there is no ``"),
        ] {
            let error = format!("{:#}", wrong.parse::<Inject>().unwrap_err());
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
