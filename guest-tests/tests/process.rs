//! What every program relies on: processes, signals, time, memory, terminals.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use uml_test::{TestResult, run};

#[test]
fn many_programs_run_one_after_the_other() -> TestResult {
    for _ in 0..50 {
        assert!(Command::new("/bin/true").status()?.success());
    }
    Ok(())
}

#[test]
fn a_pipe_passes_more_than_it_holds() -> TestResult {
    let mut child =
        Command::new("head").args(["-c", "1000000", "/dev/zero"]).stdout(Stdio::piped()).spawn()?;
    let mut bytes = Vec::new();
    child.stdout.take().ok_or(anyhow::anyhow!("no pipe"))?.read_to_end(&mut bytes)?;
    assert_eq!((bytes.len(), child.wait()?.success()), (1_000_000, true));
    Ok(())
}

#[test]
fn a_signal_ends_a_process_and_is_told() -> TestResult {
    let mut child = Command::new("sleep").arg("60").spawn()?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().cast_signed()),
        nix::sys::signal::Signal::SIGTERM,
    )?;
    assert_eq!(child.wait()?.signal(), Some(libc::SIGTERM));
    Ok(())
}

#[test]
fn a_sleep_is_not_shorter_than_it_was_asked_to_be() {
    for millis in [1, 10, 50] {
        let asked = Duration::from_millis(millis);
        let start = Instant::now();
        std::thread::sleep(asked);
        assert!(start.elapsed() >= asked, "{asked:?}");
    }
}

#[test]
fn time_does_not_run_backwards() {
    let mut last = Instant::now();
    for _ in 0..10_000 {
        let now = Instant::now();
        assert!(now >= last);
        last = now;
    }
}

#[test]
fn memory_is_shared_with_a_child() -> TestResult {
    // SAFETY: an anonymous mapping takes no address and no file.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: the mapping is a page, aligned, zeroed, and never unmapped.
    let shared = unsafe { &*page.cast::<AtomicU32>() };
    // SAFETY: the child only stores to the mapping and exits.
    match unsafe { libc::fork() } {
        0 => {
            shared.store(42, Ordering::SeqCst);
            // SAFETY: _exit(2) runs nothing of this process.
            unsafe { libc::_exit(0) };
        }
        child => {
            waitpid(Pid::from_raw(child), None)?;
            assert_eq!(shared.load(Ordering::SeqCst), 42);
        }
    }
    Ok(())
}

/// Maps the first page of a file, or fresh memory, looks at it, and unmaps it.
fn map_and_look(file: Option<&File>) {
    let (kind, fd) = match file {
        Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
    };
    // SAFETY: the kernel chooses a place where nothing is, and what is there is unmapped once it was read.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, kind, fd, 0);
        assert_ne!(page, libc::MAP_FAILED);
        std::ptr::read_volatile(page.cast::<u8>());
        libc::munmap(page, 4096);
    }
}

#[test]
fn threads_wait_for_each_other_with_their_memory_map() -> TestResult {
    let path = uml_test::case_dir().join("page");
    std::fs::write(&path, [1; 4096])?;
    let file = File::open(&path)?;
    file.sync_all()?;
    let faults_are_over = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300 {
                // The page has to be read from the disk again, for which the fault sleeps.
                // SAFETY: posix_fadvise(2) takes plain numbers.
                unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
                map_and_look(Some(&file));
            }
            faults_are_over.store(1, Ordering::SeqCst);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while faults_are_over.load(Ordering::SeqCst) == 0 {
                    map_and_look(None);
                }
            });
        }
    });
    Ok(())
}

/// A terminal's master, and the name of the other side.
fn pseudo_terminal() -> (File, String) {
    // SAFETY: posix_openpt(3) takes a number.
    let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY) };
    assert!(master >= 0);
    // SAFETY: the descriptor was made just now, and nobody else owns it.
    let master = File::from(unsafe { OwnedFd::from_raw_fd(master) });
    let mut name = [0_u8; 64];
    // SAFETY: the descriptor is a terminal's, and the buffer has the length that is given.
    let named = unsafe {
        libc::grantpt(master.as_raw_fd()) == 0
            && libc::unlockpt(master.as_raw_fd()) == 0
            && libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr().cast(), name.len()) == 0
    };
    assert!(named, "no terminal behind /dev/ptmx");
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    (master, String::from_utf8_lossy(&name[..end]).into_owned())
}

#[test]
fn a_pseudo_terminal_has_a_name_and_passes_a_line() -> TestResult {
    let (mut master, name) = pseudo_terminal();
    assert!(name.starts_with("/dev/pts/"), "{name}");
    // Kept open, so that the line is not lost when its writer has gone.
    let _slave = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(&name)?;
    run(&format!("cp /etc/hostname {name}"))?;
    let mut line = [0; 16];
    assert!(master.read(&mut line)? > 0);
    Ok(())
}

#[test]
fn a_terminal_that_is_opened_does_not_take_the_case_with_it() -> TestResult {
    let (master, name) = pseudo_terminal();
    let slave = File::options().read(true).write(true).open(&name)?;
    assert!(File::open("/dev/tty").is_err(), "the case has a terminal now");
    // Whoever has it as a terminal gets SIGHUP.
    drop(master);
    drop(slave);
    Ok(())
}

#[test]
fn threads_take_turns() {
    let counter = std::sync::Mutex::new(0_u32);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    *counter.lock().expect("no thread panics") += 1;
                }
            });
        }
    });
    assert_eq!(counter.into_inner().expect("no thread panics"), 8000);
}

#[test]
fn a_debugger_reads_the_debug_registers_that_it_wrote() -> TestResult {
    let mut traced = Command::new("true");
    // SAFETY: the call is one of the kernel's alone.
    unsafe { traced.pre_exec(|| Ok(ptrace::traceme()?)) };
    let mut child = traced.spawn()?;
    let pid = Pid::from_raw(child.id().cast_signed());
    assert_eq!(waitpid(pid, None)?, WaitStatus::Stopped(pid, Signal::SIGTRAP));
    let place = |register: usize| {
        std::mem::offset_of!(libc::user, u_debugreg) + register * size_of::<libc::c_ulonglong>()
    };
    let address = |register: usize| (0x1000 * (register + 1)) as libc::c_long;
    for register in 0..4 {
        ptrace::write_user(pid, place(register) as ptrace::AddressType, address(register))?;
    }
    let read = |register| ptrace::read_user(pid, place(register) as ptrace::AddressType);
    for register in 0..4 {
        assert_eq!(read(register)?, address(register), "register {register}");
    }
    // Nobody wrote to these: what they say has to be no address of the kernel's.
    for register in 6..8 {
        assert_eq!(read(register)?, 0, "register {register}");
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

extern "C" fn do_nothing(_signal: libc::c_int) {}

#[test]
fn an_alternate_stack_is_armed_again_after_each_signal() -> TestResult {
    // <linux/signal.h>: delivery disarms such a stack, the return from the handler arms it again (4.7).
    const SS_AUTODISARM: libc::c_int = libc::c_int::MIN;
    let memory = vec![0_u8; 64 << 10].leak();
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: SS_AUTODISARM,
        ss_size: memory.len(),
    };
    let none = std::ptr::null_mut();
    // SAFETY: the memory stays, and no other thread has it for a stack.
    match Errno::result(unsafe { libc::sigaltstack(&stack, none) }) {
        Err(Errno::EINVAL) => {
            uml_test::skip("this kernel has no SS_AUTODISARM");
            return Ok(());
        }
        set => set?,
    };
    // SAFETY: the handler does nothing.
    let handler = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = do_nothing as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut())
    };
    Errno::result(handler)?;
    for _ in 0..2 {
        // SAFETY: the signal has a handler.
        Errno::result(unsafe { libc::raise(libc::SIGUSR1) })?;
        // SAFETY: a stack_t is of numbers and a pointer, which all may be zero.
        let mut now: libc::stack_t = unsafe { std::mem::zeroed() };
        // SAFETY: the call writes one such.
        Errno::result(unsafe { libc::sigaltstack(std::ptr::null(), &mut now) })?;
        assert_eq!((now.ss_flags, now.ss_sp), (SS_AUTODISARM, stack.ss_sp));
    }
    Ok(())
}
