//! The agreement between host and guest, as either side meets it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod fuzz;
mod markers;
mod protocol;
