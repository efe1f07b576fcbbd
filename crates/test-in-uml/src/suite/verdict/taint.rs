//! What a kernel says of itself by its taint (Documentation/admin-guide/tainted-kernels.rst).

use uml_protocol::wire::Exit;

use crate::guest::Complaint;
use crate::guest::machine::CaseRecord;

/// Taint flags that mean that the kernel found a fault (tainted-kernels.rst): a machine check, a
/// bad page, an oops, a warning, a soft lockup.
const FAULTS: [(u64, char); 5] = [(4, 'M'), (5, 'B'), (7, 'D'), (9, 'W'), (14, 'L')];

/// Taint flags that change nothing of a kernel: a module of ours (`O`), without a signature (`E`).
pub const HARMLESS_TAINT: u64 = 1 << 12 | 1 << 13;

/// A fault of which the log does not tell, unless the kernel complained of one that the case declared.
pub fn added_taint(record: &CaseRecord, exit: &Exit) -> Option<Complaint> {
    let flags: String = FAULTS
        .iter()
        .filter(|(bit, _)| exit.tainted & 1 << bit != 0)
        .map(|(_, letter)| letter)
        .collect();
    let silent = !flags.is_empty() && !record.reports.has_declared();
    silent.then(|| Complaint { name: "taint", line: format!("the kernel is tainted now: {flags}") })
}
