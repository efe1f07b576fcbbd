//! The command line of this workspace.

fn main() -> std::process::ExitCode {
    test_in_uml::main()
}
