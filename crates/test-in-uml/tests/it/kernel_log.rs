//! Logs of real faults, as our own runs of the fault matrix kept them: the beginning of each.

use std::fs;
use std::path::Path;

use test_in_uml::guest::Complaint;
use test_in_uml::report::{FAULTS, Matrix};
use walkdir::WalkDir;

#[test]
fn real_logs_are_known_by_the_name_that_the_fault_matrix_has_for_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let matrix = Matrix::read(&root.join("../../guest-tests/fault-matrix.toml"), FAULTS).unwrap();
    let mut logs = 0;
    for entry in WalkDir::new(root.join("tests/it/kernel_log")) {
        let path = entry.unwrap().into_path();
        if !path.is_file() {
            continue;
        }
        let kernel = path.parent().unwrap().file_name().unwrap().to_string_lossy();
        let fault = path.file_stem().unwrap().to_string_lossy();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let complaint = Complaint::of_log(&lines).into_iter().next();
        let name = complaint.unwrap_or_else(|| panic!("{}: no complaint", path.display())).name;
        let expected = matrix.end(&fault, &kernel).unwrap_or_default();
        let agrees = expected == "dies" || expected.split(' ').next_back() == Some(name);
        assert!(agrees, "{}: {name}, not {expected}", path.display());
        logs += 1;
    }
    assert!(logs >= 20, "{logs} logs");
}
