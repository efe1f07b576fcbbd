use std::path::Path;

use super::support::xtask;
use test_in_uml::report::{FAULTS, HARM, Matrix, RunReport, TWINS};

/// The kernels are those of the fault matrix, or those that UML_MATRIX_KERNELS names, by blanks
/// apart.
#[test]
#[ignore = "builds every kernel of the fault matrix, and takes minutes with each"]
fn everything_that_fails_on_purpose_ends_as_the_tables_say() {
    let tests =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("guest-tests");
    let faults = Matrix::read(&tests.join("fault-matrix.toml"), FAULTS).unwrap();
    let harm = Matrix::read(&tests.join("harm-matrix.toml"), HARM).unwrap();
    let twins = Matrix::read(&tests.join("twin-matrix.toml"), TWINS).unwrap();
    let chosen = std::env::var("UML_MATRIX_KERNELS").unwrap_or_default();
    let kernels: Vec<&str> = match chosen.split_whitespace().collect::<Vec<_>>() {
        none if none.is_empty() => faults.kernels(),
        some => some,
    };
    for kernel in kernels {
        faults.hold_against(&run(&tests, kernel, &["--fresh", "faults matrix::"])).unwrap();
        twins.hold_against(&run(&tests, kernel, &["--guests", "1", "twins "])).unwrap();
        harm.hold_against(&run(&tests, kernel, &["--guests", "1", "harmful "])).unwrap();
    }
}

/// Runs these cases; returns their report.
fn run(tests: &Path, kernel: &str, cases: &[&str]) -> RunReport {
    let args = ["test-in-uml", "--kernel", kernel, "--run-ignored", "only", "--no-fail-fast"];
    let output = xtask().args(args).args(cases).current_dir(tests).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(100), "{text}");
    let folder = text.lines().find_map(|line| line.trim().strip_prefix("evidence "));
    RunReport::read(Path::new(folder.expect("the run names its folder"))).unwrap()
}
