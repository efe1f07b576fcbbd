use uml_test::{TestResult, run};

#[test]
fn the_kernel_says_its_name() -> TestResult {
    assert!(run("uname --kernel-name")?.contains("Linux"));
    Ok(())
}
