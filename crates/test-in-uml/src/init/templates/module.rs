use uml_test::{Module, TestResult};

#[test]
fn the_module_is_loaded_and_unloaded() -> TestResult {
    Module::load("{{module}}")?.unload()?;
    Ok(())
}
