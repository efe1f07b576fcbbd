//! The kernel's own detectors, switched so that they speak while the case that is to blame runs.

use std::fs;

/// Settings below /proc/sys/kernel, of kernels from 3.0 on (sysctl/kernel.rst); those that a kernel
/// does not have are passed over.
const SETTINGS: [(&str, &str); 4] = [
    // Seconds; a case has a minute by default, and the detector looks once in such a time.
    ("hung_task_timeout_secs", "15"),
    ("hung_task_warnings", "1000000"),
    // A loop in the kernel never ends: the sooner the guest does, the better.
    ("softlockup_panic", "1"),
    ("panic_on_oops", "1"),
];

/// Switches them on.
pub fn switch_on() {
    for (name, value) in SETTINGS {
        let _ = fs::write(format!("/proc/sys/kernel/{name}"), value);
    }
}
