//! What PID 1 of a test guest knows of its kernel and of processes, and tests ask for too.

pub mod debugfs;
pub mod leaks;
pub mod proc_stat;
pub mod release;
pub mod stuck;
