//! What cases are called.

use std::fmt;

/// What a case is called: `BINARY NAME`, as it is shown and filtered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseName {
    /// The test binary, or the suite.
    pub binary: String,
    /// Its name there.
    pub name: String,
}

impl fmt::Display for CaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.binary, self.name)
    }
}
