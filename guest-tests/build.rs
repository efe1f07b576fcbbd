//! Has no test binary link without the guard: cargo links this library into a test file only if that
//! uses it.

/// The guard, by a name that says what to do: the linker shows it where it is not found.
const GUARD: &str = "each_test_file_begins_with__use_uml_test_as_underscore";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // GNU ld has `--require-defined`, lld has not; both refuse to define a symbol by one that is not
    // there.
    println!("cargo::rustc-link-arg-tests=-Wl,--defsym=uml_test_guard={GUARD}");
}
