//! What a line of the console says about the kernel.

use super::complaint::{Pattern, Severity};

/// Whether a console line says that the kernel is lost.
pub(super) fn is_fatal(line: &str) -> bool {
    let pattern = Pattern::of_line(without_stamp(line));
    pattern.is_some_and(|pattern| pattern.severity == Severity::Fatal)
}

/// The line without the time stamp that the kernel puts before it.
pub(super) fn without_stamp(line: &str) -> &str {
    let Some(rest) = line.strip_prefix('[') else { return line };
    match rest.split_once("] ") {
        Some((stamp, text)) if stamp.trim().parse::<f64>().is_ok() => text,
        _ => line,
    }
}

/// The loops per jiffy that the kernel calibrated, if this line says them.
pub(super) fn calibrated_lpj(line: &str) -> Option<u64> {
    let line = without_stamp(line);
    let (_, rest) = line.split_once("(lpj=")?;
    // With `lpj=` given, the kernel says `(skipped) preset value` and repeats what it was given.
    if line.contains("preset") { None } else { rest.split_once(')')?.0.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_from_talk_about_one() {
        assert!(is_fatal(
            "[    0.120000] Kernel panic - not syncing: VFS: Unable to mount root fs"
        ));
        assert!(is_fatal("Kernel panic - not syncing: Kernel mode fault at addr 0x0, ip 0x6002"));
        assert!(!is_fatal("[    0.120000] test: saw 'Kernel panic - not syncing' in a file"));
        assert!(!is_fatal("[not a time] Kernel panic - not syncing"));
    }

    #[test]
    fn a_calibrated_value_is_told_from_a_preset_one() {
        let line = "[    0.00] Calibrating delay loop... 7812.35 BogoMIPS (lpj=39061760)";
        assert_eq!(calibrated_lpj(line), Some(39_061_760));
        let line = "Calibrating delay loop (skipped) preset value.. 781.31 BogoMIPS (lpj=3906560)";
        assert_eq!(calibrated_lpj(line), None);
        assert_eq!(calibrated_lpj("Linux version 6.12"), None);
    }
}
