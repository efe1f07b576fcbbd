//! The delay loop's calibration: most of a boot's time, and the same at each boot.
//!
//! The first boot of a kernel on a machine calibrates; later ones are given its value. A made-up
//! value would boot as fast and make every delay of a driver wrong.

use std::fs;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::console::calibrated_lpj;
use crate::layout::Layout;
use crate::store::hex;

/// The calibration of one kernel on this machine.
#[derive(Debug)]
pub struct Calibration {
    path: PathBuf,
    lpj: Option<u64>,
}

impl Calibration {
    /// Looks for what an earlier boot of the kernel with this key found.
    pub fn of(layout: &Layout, kernel_key: &str) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model: Vec<&str> = info
            .lines()
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("model") || line.starts_with("stepping"))
            .collect();
        let machine = hex(&Sha256::digest(model.join("\n"))[..4]);
        let path = layout.facts().join(format!("lpj-{kernel_key}-{machine}"));
        let lpj = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        Self { path, lpj }
    }

    /// Loops per jiffy, if they are known.
    pub fn lpj(&self) -> Option<u64> {
        self.lpj
    }

    /// Learns from a console line. What cannot be kept is found again at the next boot.
    pub fn learn(&mut self, line: &str) {
        if self.lpj.is_some() {
            return;
        }
        if let Some(lpj) = calibrated_lpj(line) {
            self.lpj = Some(lpj);
            let fresh = self.path.with_extension(std::process::id().to_string());
            let kept = self.path.parent().is_some_and(|dir| fs::create_dir_all(dir).is_ok())
                && fs::write(&fresh, format!("{lpj}\n")).is_ok();
            if kept {
                let _ = fs::rename(&fresh, &self.path);
            }
        }
    }
}
