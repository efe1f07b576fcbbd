//! The command line of this workspace: that of the engine, and what checks and measures the engine.

use test_in_uml::OwnCommand;

mod bench;
mod ci;

fn main() -> std::process::ExitCode {
    test_in_uml::main_with(&[
        OwnCommand {
            name: "ci",
            about: "Check everything that this project promises of itself",
            arguments: None,
            run: |ctx, _| ci::run(ctx),
        },
        OwnCommand {
            name: "bench",
            about: "Measure how fast guests' networks are, beside the host's own: `bench net [KERNEL]…`",
            arguments: Some("WHAT"),
            run: bench::run,
        },
    ])
}
