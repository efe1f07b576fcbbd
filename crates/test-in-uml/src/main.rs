//! The same command line as that of an xtask, for tests of this crate.

fn main() -> std::process::ExitCode {
    test_in_uml::main()
}
