//! Cases of which one depends on what ran before it in the same guest. All are ignored: `--replay RUN/CASE --shrink` has to find
//! which of them it is.

use std::fs;
use std::path::Path;

use uml_test::TestResult;

/// What one leaves behind, where nobody looks.
const MARK: &str = "/var/tmp/mark";

macro_rules! others {
    ($($name:ident)*) => {
        $(
            #[test]
            #[ignore = "says nothing alone"]
            fn $name() {}
        )*
    };
}

others! { a_passes b_passes c_passes e_passes f_passes g_passes }

#[test]
#[ignore = "says nothing alone"]
fn d_leaves_a_mark() -> TestResult {
    fs::write(MARK, "")?;
    Ok(())
}

#[test]
#[ignore = "fails after a mark"]
fn h_fails_after_a_mark() {
    assert!(!Path::new(MARK).exists(), "somebody left {MARK}");
}
