//! The same fault twice, first declared, then not. Many detectors speak once, or once in a while: a
//! complaint that was declared must not have the next one, of another object, go unseen.
//!
//! All are ignored; `twin-matrix.toml` says how each second half has to end on each kernel. In one guest
//! (`--guests 1`) the halves follow each other.

use std::fs;

use uml_test::{Module, Release, TestResult, config, expect_kernel, release, scan_for_leaks};

/// A fault that leaves its guest alive.
#[derive(Clone, Copy)]
enum Fault {
    /// One of the module `fault`.
    Of(&'static str),
    /// One of the module `misuse`.
    Misuse(&'static str),
    /// This module is loaded.
    Load(&'static str),
}

impl Fault {
    fn run(self) -> TestResult {
        let (module, name) = match self {
            Fault::Of(name) => ("fault", name),
            Fault::Misuse(name) => ("misuse", name),
            Fault::Load(module) => (module, ""),
        };
        let loaded = Module::load(module)?;
        if !name.is_empty() {
            fs::write(format!("/sys/module/{module}/parameters/trigger"), name)?;
        }
        if name == "leak" {
            scan_for_leaks()?;
        }
        loaded.unload()?;
        Ok(())
    }
}

/// Which kernels see a fault.
#[derive(Clone, Copy)]
enum By {
    /// Those with this symbol in their configuration.
    Symbol(&'static str),
    /// All.
    Every,
    /// From this release on.
    Since(u32, u32),
    /// Up to this release.
    Before(u32, u32),
}

impl By {
    fn is_here(self) -> Result<bool, uml_test::Failure> {
        Ok(match self {
            By::Symbol(symbol) => config(symbol)?.is_some(),
            By::Every => true,
            By::Since(major, minor) => release()? >= Release { major, minor },
            By::Before(major, minor) => release()? < Release { major, minor },
        })
    }
}

/// What the kernel says of a fault here, by who sees it; nothing if nobody does.
fn said_here(seen: &[(By, &[&'static str])]) -> Result<Vec<&'static str>, uml_test::Failure> {
    for (by, said) in seen {
        if by.is_here()? {
            return Ok(said.to_vec());
        }
    }
    Ok(Vec::new())
}

/// What no detector sees here may do harm: it is left alone.
fn run_declared(seen: &[(By, &[&'static str])], fault: Fault) -> TestResult {
    let said = said_here(seen)?;
    for text in &said {
        expect_kernel(text)?;
    }
    if said.is_empty() { Ok(()) } else { fault.run() }
}

fn run_undeclared(seen: &[(By, &[&'static str])], fault: Fault) -> TestResult {
    if said_here(seen)?.is_empty() { Ok(()) } else { fault.run() }
}

/// The allocator warns at the end of its report.
const SLAB: [&str; 2] = ["BUG kmalloc-64", "at mm/slub.c:"];

macro_rules! twins {
    ($($name:ident: $first:expr, $second:expr, $seen:expr;)*) => {
        $(mod $name {
            use super::{By::*, Fault::*};

            #[test]
            #[ignore = "is for the one after it"]
            fn declared() -> uml_test::TestResult {
                super::run_declared(&$seen, $first)
            }

            #[test]
            #[ignore = "fails on purpose"]
            fn undeclared() -> uml_test::TestResult {
                super::run_undeclared(&$seen, $second)
            }
        })*
    };
}

twins! {
    // Everybody sees these.
    warn: Of("warn"), Of("warn-again"), [(Every, &["fault: warned as asked"])];
    duplicate_name: Misuse("duplicate-name"), Misuse("duplicate-name"), [(
        Every,
        &["cannot create duplicate filename", "don't try to register things with the same name"],
    )];
    init_twice: Misuse("init-twice"), Misuse("init-twice"),
        [(Every, &["tried to init an initialized object"])];
    irq: Misuse("irq"), Misuse("irq"), [(Every, &["nobody cared"])];
    device_held: Misuse("device-held"), Misuse("device-held"),
        [(Every, &["unregister_netdevice: waiting for"])];
    // Those of an era.
    refcount: Misuse("refcount"), Misuse("refcount"),
        [(Since(4, 11), &["refcount_t: addition on 0"])];
    bad_page: Misuse("bad-page"), Misuse("bad-page"),
        [(Before(4, 7), &["BUG: Bad page state"])];
    // A lock order that was seen, and one of other locks.
    lock_inversion: Of("lock-inversion"), Misuse("lock-inversion"),
        [(Symbol("CONFIG_PROVE_LOCKING"), &["possible circular locking dependency"])];
    non_static_key: Misuse("non-static-key"), Misuse("non-static-key"),
        [(Symbol("CONFIG_PROVE_LOCKING"), &["trying to register non-static key"])];
    proprietary: Load("proprietary"), Of("lock-inversion"),
        [(Symbol("CONFIG_PROVE_LOCKING"), &["module license 'Proprietary' taints kernel"])];
    might_sleep: Misuse("might-sleep"), Misuse("might-sleep"),
        [(Symbol("CONFIG_DEBUG_ATOMIC_SLEEP"), &["sleeping function called from invalid context"])];
    list_corruption: Of("list-corruption"), Of("list-corruption"),
        [(Symbol("CONFIG_DEBUG_LIST"), &["list_add corruption"])];
    shift_out_of_bounds: Of("shift-out-of-bounds"), Of("shift-out-of-bounds-again"),
        [(Symbol("CONFIG_UBSAN_SHIFT"), &["UBSAN: shift-out-of-bounds"])];
    leak: Of("leak"), Of("leak"),
        [(Symbol("CONFIG_DEBUG_KMEMLEAK"), &["new suspected memory leaks"])];
    // The sanitizer speaks once, and the allocator takes what was corrupted out of use.
    use_after_free: Of("use-after-free"), Of("use-after-free"), [
        (Symbol("CONFIG_KASAN"), &["BUG: KASAN:"]),
        (Symbol("CONFIG_SLUB_DEBUG_ON"), &super::SLAB),
    ];
    out_of_bounds: Of("out-of-bounds"), Of("out-of-bounds"), [
        (Symbol("CONFIG_KASAN"), &["BUG: KASAN:"]),
        (Symbol("CONFIG_SLUB_DEBUG_ON"), &super::SLAB),
    ];
    double_free: Of("double-free"), Of("double-free"), [
        (Symbol("CONFIG_KASAN"), &["BUG: KASAN:"]),
        (Symbol("CONFIG_SLUB_DEBUG_ON"), &super::SLAB),
    ];
}
