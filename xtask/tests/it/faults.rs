use std::path::Path;
use std::process::Command;

use xtask::report::Matrix;

/// The kernels are those of the table, or those that UML_MATRIX_KERNELS names, by blanks apart.
#[test]
#[ignore = "builds every kernel of the fault matrix, and takes minutes with each"]
fn every_fault_ends_as_the_table_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let matrix = Matrix::read(&root.join("guest-tests/fault-matrix.toml")).unwrap();
    let chosen = std::env::var("UML_MATRIX_KERNELS").unwrap_or_default();
    let kernels: Vec<&str> = match chosen.split_whitespace().collect::<Vec<_>>() {
        none if none.is_empty() => matrix.kernels(),
        some => some,
    };
    for kernel in kernels {
        let args = ["test-in-uml", "--kernel", kernel, "--run-ignored", "only", "--no-fail-fast"];
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(args)
            .arg("faults matrix::")
            .current_dir(root)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(100), "{text}");
        let report = text.lines().find_map(|line| line.trim().strip_prefix("evidence "));
        let report = Path::new(report.expect("the run names its folder")).join("report.jsonl");
        matrix.hold_against(&report).unwrap();
    }
}
