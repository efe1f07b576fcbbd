//! The module `fault` runs into faults, so that one sees what is made of them.
//!
//! All but the first cases are ignored: they fail on purpose. `fault-matrix.toml` says how each has
//! to end on each kernel, and the table is held against what happens.

use std::fs;
use std::time::Duration;

use uml_test::{Module, TestResult, config, expect_death, expect_kernel, scan_for_leaks};

/// Runs into the fault, in the context of a write(2).
fn trigger(fault: &str) -> TestResult {
    fs::write("/sys/module/fault/parameters/trigger", fault)?;
    Ok(())
}

fn run_into(fault: &str) -> TestResult {
    let module = Module::load("fault")?;
    trigger(fault)?;
    scan_for_leaks()?;
    module.unload()?;
    Ok(())
}

#[test]
fn a_module_is_loaded_and_unloaded() -> TestResult {
    for _ in 0..20 {
        let module = Module::load("fault")?;
        assert!(fs::read_to_string("/proc/modules")?.contains("fault "));
        module.unload()?;
        assert!(!fs::read_to_string("/proc/modules")?.contains("fault "));
    }
    Ok(())
}

#[test]
fn a_module_is_unloaded_at_the_end_of_its_scope() -> TestResult {
    drop(Module::load("fault")?);
    assert!(!fs::read_to_string("/proc/modules")?.contains("fault "));
    Ok(())
}

#[test]
fn an_unload_that_does_not_come_back_is_reported() -> TestResult {
    let module = Module::load_with("fault", &[("unload_waits", "1")])?;
    let error = module.unload_within(Duration::from_millis(100)).unwrap_err().to_string();
    assert!(error.contains("does not come back from its unload"), "{error}");
    fs::write("/sys/module/fault/parameters/unload_waits", "0")?;
    while fs::read_to_string("/proc/modules")?.contains("fault ") {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn a_load_error_carries_the_kernels_words() -> TestResult {
    let _module = Module::load("fault")?;
    let again = Module::load("fault").unwrap_err().to_string();
    assert!(again.contains("fault") && again.contains("exists"), "{again}");
    let unknown = Module::load("no_such").unwrap_err().to_string();
    assert!(unknown.contains("fault"), "it names those that there are: {unknown}");
    Ok(())
}

#[test]
fn a_wrong_parameter_is_refused() -> TestResult {
    // Kernels before 3.15 refuse it, later ones say that they ignore it; both say its name.
    match Module::load_with("fault", &[("trigger", "no-such-fault")]) {
        Err(error) => assert!(error.to_string().contains("trigger"), "{error}"),
        Ok(_) => panic!("a parameter that the module refuses was taken"),
    }
    Ok(())
}

#[test]
fn a_declared_warning_of_a_module_is_no_failure() -> TestResult {
    expect_kernel("fault.c:")?;
    let _module = Module::load("fault")?;
    trigger("warn")
}

#[test]
fn a_declared_death_by_a_module_is_no_failure() -> TestResult {
    expect_death("BUG: failure at")?;
    let _module = Module::load("fault")?;
    trigger("bug")?;
    std::thread::sleep(Duration::from_secs(3600));
    Ok(())
}

#[test]
fn a_leak_is_that_of_the_case_and_the_process_that_lost_it() -> TestResult {
    let module = Module::load("fault")?;
    if config("CONFIG_DEBUG_KMEMLEAK")?.is_none() {
        trigger("leak")?;
        assert_eq!(scan_for_leaks()?, [], "nobody looks");
        return Ok(());
    }
    expect_kernel("new suspected memory leaks")?;
    trigger("leak")?;
    let lost = scan_for_leaks()?;
    module.unload()?;
    assert!(!lost.is_empty(), "of sixteen one at least is found");
    for leak in lost {
        // The thread of the test, whose number follows that of its process.
        assert!(leak.pid > std::process::id().cast_signed(), "{leak:?}");
        assert!(leak.summary().contains("[fault]"), "{leak:?}");
    }
    Ok(())
}

macro_rules! matrix {
    ($($name:ident $fault:literal,)*) => {
        mod matrix {
            $(#[test]
            #[ignore = "fails on purpose"]
            fn $name() -> uml_test::TestResult {
                super::run_into($fault)
            })*
        }
    };
}

matrix! {
    warn "warn",
    flood "flood",
    bug "bug",
    null_dereference "null-dereference",
    use_after_free "use-after-free",
    out_of_bounds "out-of-bounds",
    endless_loop "loop",
    loop_without_interrupts "loop-without-interrupts",
    sleep_in_atomic "sleep-in-atomic",
    lock_inversion "lock-inversion",
    deadlock "deadlock",
    leak "leak",
    stack_overflow "stack-overflow",
    list_corruption "list-corruption",
    double_free "double-free",
    shift_out_of_bounds "shift-out-of-bounds",
}
