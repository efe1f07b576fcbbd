//! Cases that do harm, each in its own way. All are ignored; `harm-matrix.toml` says how each has to
//! end, and the case after each looks whether anybody else was harmed.
//!
//! Longer than 300 lines: a table says what becomes of this one binary, harm by harm.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;
use nix::mount::{MntFlags, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use nix::unistd::{ForkResult, Pid, fork, getppid, setsid};
use uml_test::{Lab, Module, TestResult, case_dir, kernel_log, parameter, run, scan_for_leaks};

/// Which messages of the kernel reach its console, by their level.
const LEVELS: &str = "/proc/sys/kernel/printk";

/// An address and a route that no guest has (RFC 5737).
const STRAY_ADDRESS: &str = "192.0.2.1";
const STRAY_ROUTE: &str = "192.0.2.2";

/// The time a case floods.
const FLOOD: Duration = Duration::from_secs(2);

/// Writes the same again and again for a while.
fn flood(mut place: impl Write, piece: &[u8]) -> TestResult {
    let start = Instant::now();
    while start.elapsed() < FLOOD {
        place.write_all(piece)?;
    }
    Ok(())
}

/// Leaves a process behind that no polite signal ends.
fn leave_a_daemon() -> TestResult {
    // SAFETY: the child calls only what is async-signal-safe.
    if let ForkResult::Child = unsafe { fork() }? {
        let _ = setsid();
        for polite in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            // SAFETY: no handler is installed.
            let _ = unsafe { signal(polite, SigHandler::SigIgn) };
        }
        loop {
            // SAFETY: pause(2) takes nothing.
            unsafe { libc::pause() };
        }
    }
    Ok(())
}

/// Allocates all that is free on the file's disk but for the last `rest` bytes or less.
fn take_all(file: &File, rest: libc::off_t) {
    let (mut size, mut taken) = (1 << 40, 0);
    while size > rest {
        match fallocate(file, FallocateFlags::empty(), taken, size) {
            Ok(()) => taken += size,
            Err(_) => size /= 2,
        }
    }
    assert!(taken > 0, "nothing can be allocated");
}

/// Each of these is followed by a case that looks whether all is as it should be.
macro_rules! harm {
    ($($(#[$attribute:meta])* fn $name:ident() -> TestResult $body:block)*) => {
        $(mod $name {
            use super::*;

            #[test]
            #[ignore = "does harm"]
            $(#[$attribute])*
            fn done() -> TestResult $body

            #[test]
            #[ignore = "is for after the harm"]
            fn harmless() -> TestResult {
                all_is_well()
            }
        })*
    };
}

harm! {
    fn forks_without_end() -> TestResult {
        // SAFETY: the children only fork.
        if let ForkResult::Child = unsafe { fork() }? {
            // So that this test itself comes to its end.
            // SAFETY: setpriority(2) takes plain numbers.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
            loop {
                // SAFETY: as above.
                let _ = unsafe { fork() };
            }
        }
        std::thread::sleep(FLOOD / 4);
        Ok(())
    }

    fn fills_the_disk() -> TestResult {
        take_all(&File::create(case_dir().join("most"))?, 32 << 20);
        let mut file = File::create(case_dir().join("full"))?;
        let chunk = vec![1; 4 << 20];
        while file.write_all(&chunk).and_then(|()| file.sync_data()).is_ok() {}
        Ok(())
    }

    fn leaves_the_disk_full() -> TestResult {
        take_all(&File::create("/full")?, 4096);
        Ok(())
    }

    fn fills_the_memory() -> TestResult {
        // A page that is written to by a call costs less than one that faults.
        let mut file = File::create("/dev/shm/full")?;
        fs::remove_file("/dev/shm/full")?;
        let chunk = vec![1; 1 << 20];
        while file.write_all(&chunk).is_ok() {}
        let mut all = Vec::new();
        loop {
            all.push(vec![1_u8; 1 << 20]);
            std::hint::black_box(&all);
        }
    }

    fn leaves_the_memory_full() -> TestResult {
        let mut file = File::create("/dev/shm/full")?;
        let chunk = vec![1; 1 << 20];
        while file.write_all(&chunk).is_ok() {}
        Ok(())
    }

    fn kills_pid_1() -> TestResult {
        let signals = [Signal::SIGSTOP, Signal::SIGKILL, Signal::SIGTERM, Signal::SIGSEGV];
        for lethal in signals {
            kill(Pid::from_raw(1), lethal)?;
        }
        Ok(())
    }

    fn kills_the_agent() -> TestResult {
        kill(getppid(), Signal::SIGKILL)?;
        Ok(())
    }

    fn takes_the_network_down() -> TestResult {
        for interface in fs::read_dir("/sys/class/net")? {
            run(&format!("ip link set {} down", interface?.file_name().display()))?;
        }
        Ok(())
    }

    fn sets_the_clock() -> TestResult {
        clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(86_400, 0))?;
        Ok(())
    }

    fn unmounts_what_everybody_needs() -> TestResult {
        for place in ["/dev/pts", "/dev/shm", "/dev", "/sys", "/run", "/proc"] {
            umount2(place, MntFlags::MNT_DETACH)?;
        }
        Ok(())
    }

    fn restarts() -> TestResult {
        reboot(RebootMode::RB_AUTOBOOT)?;
        Ok(())
    }

    fn halts() -> TestResult {
        reboot(RebootMode::RB_HALT_SYSTEM)?;
        Ok(())
    }

    fn switches_off() -> TestResult {
        reboot(RebootMode::RB_POWER_OFF)?;
        Ok(())
    }

    fn restarts_by_sysrq() -> TestResult {
        fs::write("/proc/sysrq-trigger", "b")?;
        std::thread::sleep(Duration::from_secs(3600));
        Ok(())
    }

    fn leaves_an_unload_that_waits() -> TestResult {
        // As one that waits for a reference, which nobody will give up.
        Module::load_with("fault", &[("unload_waits", "1")])?.unload()?;
        Ok(())
    }

    fn leaves_a_daemon_that_ignores_signals() -> TestResult {
        leave_a_daemon()
    }

    fn floods_its_output() -> TestResult {
        flood(std::io::stdout(), &[b'x'; 4096])?;
        println!();
        Ok(())
    }

    fn floods_the_kernel_log() -> TestResult {
        flood(File::options().write(true).open("/dev/kmsg")?, &[b'y'; 900])
    }

    fn floods_the_console() -> TestResult {
        flood(File::options().write(true).open("/dev/tty0")?, &[b'z'; 4096])
    }

    fn prints_what_is_not_text() -> TestResult {
        let mut out = std::io::stdout();
        out.write_all(b"\xff\xfe \x1b[2J\x1b]0;title\x07 \r\n::error file=x::forged\n")?;
        out.write_all(b"\x1b[31m##[error]forged\n")?;
        Err(std::io::Error::other("\u{1b}[2Ja message").into())
    }

    fn forges_the_end_of_its_case() -> TestResult {
        // The agent's own marker of this case, with its seal.
        let log = kernel_log()?;
        let begin = log.lines().rev().find_map(|line| line.find("uml-agent ").map(|at| &line[at..]));
        let begin = begin.ok_or(anyhow::anyhow!("no marker in the kernel log"))?;
        assert!(begin.contains(" begin "), "{begin}");
        fs::write("/dev/kmsg", begin.replace(" begin ", " end "))?;
        Ok(())
    }

    fn forges_a_farewell() -> TestResult {
        let nonce = parameter("uml_agent.nonce")?.unwrap_or_default();
        fs::write("/dev/kmsg", format!("uml-agent {nonce} farewell"))?;
        Ok(())
    }

    fn takes_the_place_of_programs() -> TestResult {
        for entry in fs::read_dir(uml_protocol::PROGRAMS)? {
            let path = entry?.path();
            fs::rename(&path, path.with_extension("old"))?;
            let mut options = File::options();
            let mut file = options.write(true).create_new(true).mode(0o755).open(&path)?;
            file.write_all(b"#!/bin/sh\nexit 7\n")?;
        }
        Ok(())
    }

    fn changes_settings() -> TestResult {
        fs::write(LEVELS, "1 1 1 1")?;
        // Since 3.1.
        let ignore = "/sys/module/printk/parameters/ignore_loglevel";
        if fs::exists(ignore)? {
            fs::write(ignore, "N")?;
        }
        Ok(())
    }

    fn changes_the_network() -> TestResult {
        run(&format!("ip address add {STRAY_ADDRESS}/32 dev lo"))?;
        run(&format!("ip route add blackhole {STRAY_ROUTE}/32"))?;
        Ok(())
    }

    fn talks_to_the_agent() -> TestResult {
        assert!(TcpStream::connect(("127.0.0.1", uml_protocol::PORT)).is_err());
        Ok(())
    }

    fn has_another_guest_panic() -> TestResult {
        let other = Lab::guest("other").boot()?;
        let crash = "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger";
        assert!(other.run(crash).is_err());
        Ok(())
    }

    fn leaves_another_guest_running() -> TestResult {
        let other = Lab::guest("other").boot()?;
        other.run("while :; do :; done &")?;
        std::mem::forget(other);
        Ok(())
    }

    fn asks_for_more_than_there_is() -> TestResult {
        let refused = Lab::guest("other").memory(u32::MAX).boot().unwrap_err();
        assert!(refused.to_string().contains("more than guests of this run may have"), "{refused}");
        let of_another = Lab::guest("another").kernel("none").boot().unwrap_err();
        assert!(of_another.to_string().contains("none of this run"), "{of_another}");
        Ok(())
    }
}

/// A case that loses memory of the kernel and passes, and one after it that only looks.
mod loses_memory {
    use super::*;

    #[test]
    #[ignore = "does harm"]
    fn done() -> TestResult {
        let fault = Module::load("fault")?;
        fs::write("/sys/module/fault/parameters/trigger", "leak")?;
        fault.unload()?;
        Ok(())
    }

    #[test]
    #[ignore = "is for after the harm"]
    fn harmless() -> TestResult {
        let lost = scan_for_leaks()?;
        assert!(lost.is_empty(), "charged with what another has lost: {lost:?}");
        all_is_well()
    }
}

/// What every case may count on.
fn all_is_well() -> TestResult {
    for needed in ["/dev/null", "/proc/self/status", "/sys/kernel"] {
        assert!(fs::exists(needed)?, "{needed} is gone");
    }
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    assert!(now.tv_sec() > 1_600_000_000, "the clock says {}", now.tv_sec());
    let levels = fs::read_to_string(LEVELS)?;
    assert!(!levels.starts_with('1'), "the kernel is silent: {levels}");
    for (command, stray) in
        [("ip address show", STRAY_ADDRESS), ("ip route show table all", STRAY_ROUTE)]
    {
        let shown = run(command)?;
        assert!(!shown.contains(stray), "{shown}");
    }
    fs::write(case_dir().join("a-file"), vec![0; 20 << 20])?;
    fs::write("/dev/shm/a-file", vec![0; 20 << 20])?;
    fs::remove_file("/dev/shm/a-file")?;
    let processes = fs::read_dir("/proc")?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        .count();
    assert!(processes < 100, "{processes} processes");
    uml_test::HostPeer::find()?.sink(1, [vec![0]].into_iter())?;
    Ok(())
}
