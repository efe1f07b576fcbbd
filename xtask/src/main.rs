//! The command line of this workspace: that of the engine, and what checks the engine.

use test_in_uml::OwnCommand;

mod ci;

fn main() -> std::process::ExitCode {
    test_in_uml::main_with(OwnCommand {
        name: "ci",
        about: "Check everything that this project promises of itself",
        run: ci::run,
    })
}
