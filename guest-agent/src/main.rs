//! PID 1 of a test guest.
fn main() {}
