//! The full guest, driven at its console as a person would. These need a kernel and an image, so
//! that they are ignored here; `cargo xtask ci` runs them. `UML_SHELL_ARGS` asks for another kernel than
//! the default one, for example `--kernel 3.0 --tarball PATH`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

use super::support::xtask;

/// A limit for what hangs, not a measure: a full boot on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(180);

nix::ioctl_write_ptr_bad!(set_size, nix::libc::TIOCSWINSZ, Winsize);

/// `cargo xtask shell` with somebody at its terminal.
pub struct Shell {
    child: Child,
    keyboard: File,
    /// Our terminal, and how it was before.
    terminal: Option<(OwnedFd, Termios)>,
    screen: Receiver<Vec<u8>>,
    text: String,
    /// How much of the text was looked at.
    seen: usize,
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn command(args: &[&str]) -> Command {
    let mut command = xtask();
    command.arg("shell").args(args).args(more_arguments());
    command
}

/// What says which kernel is meant.
pub fn more_arguments() -> Vec<String> {
    let more = std::env::var("UML_SHELL_ARGS").unwrap_or_default();
    more.split_whitespace().map(String::from).collect()
}

impl Shell {
    fn on_a_terminal(args: &[&str]) -> Self {
        Self::of(command(args))
    }

    /// The same of another command.
    pub fn of(mut command: Command) -> Self {
        let pty = openpty(&size(40, 100), None).unwrap();
        let end = || pty.slave.try_clone().unwrap();
        let found = tcgetattr(&pty.slave).unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let master = File::from(pty.master);
        let keyboard = master.try_clone().unwrap();
        Self::new(child, keyboard, Some((pty.slave, found)), master)
    }

    pub fn on_pipes() -> Self {
        let mut child = command(&[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let keyboard = File::from(OwnedFd::from(child.stdin.take().unwrap()));
        let screen = File::from(OwnedFd::from(child.stdout.take().unwrap()));
        Self::new(child, keyboard, None, screen)
    }

    fn new(
        child: Child,
        keyboard: File,
        terminal: Option<(OwnedFd, Termios)>,
        mut from: File,
    ) -> Self {
        let (to, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                if to.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, terminal, screen, text: String::new(), seen: 0 }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the console says something, after all that was waited for before.
    pub fn expect(&mut self, what: &str) -> &mut Self {
        let start = Instant::now();
        loop {
            if let Some(at) = self.text[self.seen..].find(what) {
                self.seen += at + what.len();
                return self;
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("it never said {what:?}")),
                Err(RecvTimeoutError::Disconnected) => {
                    self.fail(&format!("it ended before it said {what:?}"))
                }
            }
        }
    }

    pub fn keys(&mut self, keys: &str) -> &mut Self {
        // Whoever asks may throw away what was typed before: login(1) does, after its prompt.
        std::thread::sleep(Duration::from_millis(300));
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self
    }

    pub fn log_in(&mut self, name: &str, password: &str) -> &mut Self {
        self.expect("uml login: ").keys(&format!("{name}\n"));
        self.expect("Password: ").keys(&format!("{password}\n"))
    }

    /// Runs a command, whose output must hold a text that the command itself does not.
    pub fn runs(&mut self, command: &str, says: &str) -> &mut Self {
        self.keys(&format!("{command}\n")).expect(says)
    }

    /// Waits for the end, and looks at the terminal afterwards.
    pub fn ends_with(&mut self, code: i32) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > PATIENCE {
                self.fail("it never ended");
            }
            // Its terminal must not fill up.
            while let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(20)) {
                self.text.push_str(&String::from_utf8_lossy(&bytes));
            }
        };
        if status.code() != Some(code) {
            self.fail(&format!("it ended with {status}, not {code}"));
        }
        let Some((terminal, found)) = &self.terminal else { return };
        let now = tcgetattr(terminal).unwrap();
        let flags = |of: &Termios| {
            (of.input_flags, of.output_flags, of.control_flags, of.local_flags, of.control_chars)
        };
        assert_eq!(flags(&now), flags(found), "the terminal was not given back");
    }

    fn fail(&self, why: &str) -> ! {
        let lines: Vec<&str> = self.text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(40)..];
        panic!("{why}; the end of its console:\n{}", tail.join("\n"));
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // What it started dies with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs a kernel and an image"]
fn the_users_of_the_guide_log_in_where_they_may_and_nowhere_else() {
    let mut shell = Shell::on_a_terminal(&[]);
    shell.expect("Ctrl-] q").expect("Checking root file system").expect("/dev/ubd0: clean");
    shell.log_in("root", "wrong").expect("Login incorrect");
    shell.log_in("root", "root").expect("# ");
    shell.runs("echo \"on $(tty) as $(id -u)\"", "on /dev/tty0 as 0");
    shell.runs("stty size", "40 100");
    let (terminal, _) = shell.terminal.as_ref().unwrap();
    // SAFETY: TIOCSWINSZ reads a whole `winsize`, and this is one.
    unsafe { set_size(terminal.as_fd().as_raw_fd(), &size(50, 132)) }.unwrap();
    shell.runs("sleep 1; stty size", "50 132");
    shell.runs("findmnt -no FSTYPE,OPTIONS /", "ext4").expect("rw");
    shell.runs("echo \"links: $(cat /sys/class/net/lo/operstate /proc/1/comm)\"", "init");
    // A terminal that securetty(5) does not list takes uml, and of root not even a password.
    shell.runs("script -qc login /dev/null", "login: ").keys("root\n").expect("Login incorrect");
    shell.expect("login: ").keys("uml\n").expect("Password: ").keys("uml\n").expect("$ ");
    shell.runs("echo \"on $(tty | cut -c-8) as $(id -un)\"", "on /dev/pts as uml");
    shell.keys("exit\n").expect("# ").keys("exit\n");
    shell.log_in("uml", "uml").expect("$ ");
    shell.runs("echo \"on $(tty) as $(id -un)\"", "on /dev/tty0 as uml");
    shell.runs("cat /etc/shadow", "Permission denied").keys("exit\n");
    shell.log_in("root", "root").expect("# ").keys("poweroff\n");
    shell.ends_with(0);
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_disk_that_is_kept_is_there_at_the_next_boot() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.cow");
    let path = disk.to_str().unwrap();
    let mut first = Shell::on_a_terminal(&["--keep", path]);
    first.log_in("root", "root").expect("# ");
    first.runs("echo kept-here > /root/note; echo \"done $?\"", "done 0").keys("halt -p\n");
    first.expect("the guest's disk is kept at").expect(path).ends_with(0);
    let mut second = Shell::on_a_terminal(&["--keep", path]);
    second.expect("/dev/ubd0: clean");
    second.log_in("root", "root").expect("# ").runs("cat /root/note", "kept-here");
    second.keys("poweroff\n").ends_with(0);
    assert!(Path::new(path).exists());
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_guest_has_the_memory_the_disks_and_the_arguments_that_were_asked_for() {
    let args = ["--memory", "384M", "--disk", "32M", "--disk", "48M", "--append", "quite.own=1"];
    let mut shell = Shell::on_a_terminal(&args);
    shell.log_in("root", "root").expect("# ");
    shell.runs(
        "echo \"$(($(grep -o 'MemTotal: *[0-9]*' /proc/meminfo | tr -dc 0-9) > 300000)) more\"",
        "1 more",
    );
    shell.runs("echo \"disks $(cat /sys/block/ubd[bc]/size | tr '\\n' ' ')\"", "disks 65536 98304");
    shell.runs("grep -o quite.own=. /proc/cmdline | tr = -", "quite.own-1");
    shell.runs(
        "mke2fs -q -t ext4 /dev/ubdb && mount /dev/ubdb /mnt && echo \"mounted $?\"",
        "mounted 0",
    );
    shell.keys("poweroff\n").ends_with(0);
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_script_drives_a_guest_through_pipes() {
    let mut shell = Shell::on_pipes();
    shell.log_in("root", "root").expect("# ").runs("echo \"x$((40 + 2))y\"", "x42y");
    shell.keys("poweroff\n").ends_with(0);
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_kernel_that_panics_is_an_error() {
    let mut shell = Shell::on_a_terminal(&[]);
    shell.log_in("root", "root").expect("# ");
    shell.keys("echo c > /proc/sysrq-trigger\n").expect("Kernel panic").ends_with(96);
}

#[test]
#[ignore = "needs a kernel and an image"]
fn whoever_leaves_gets_the_terminal_back() {
    let mut left = Shell::on_a_terminal(&[]);
    left.expect("INIT: ").keys("\x1dq").ends_with(0);
    for signals in [1, 2] {
        let mut ended = Shell::on_a_terminal(&[]);
        ended.expect("INIT: ");
        for _ in 0..signals {
            kill(Pid::from_raw(ended.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        }
        ended.ends_with(130);
    }
}
