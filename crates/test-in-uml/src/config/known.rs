//! `[workspace.metadata.uml.known.NAME]`: failures whose cause was found.

use serde::{Deserialize, Serialize};

/// `[workspace.metadata.uml.known.NAME]`: cases that fail for a reason that is known, and do not make a run red. One of them that
/// passes does, until it is taken out of here.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Known {
    /// The cases, each `BINARY NAME`, in which `*` is any text.
    pub cases: Vec<String>,
    /// The kernels on which they fail, in the same words.
    #[serde(default = "super::suite::every")]
    pub kernels: Vec<String>,
    /// A text of what is reported of them, `WORD: DETAIL`, for example `timed-out`: who fails without it has failed otherwise.
    pub says: String,
    /// Why they fail.
    pub why: String,
    /// True if they pass now and then.
    #[serde(default)]
    pub sometimes: bool,
}
