//! Tries, before `main`, what a test binary must not be able to do to the host on which it is listed,
//! and says what succeeded.

use std::ffi::{c_char, c_int, c_long, c_ulong, c_void};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

unsafe extern "C" {
    fn mount(s: *const c_char, t: *const c_char, k: *const c_char, f: c_ulong, d: *const c_void) -> c_int;
    fn fork() -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn ptrace(request: c_int, ...) -> c_long;
    fn setuid(uid: u32) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn unshare(flags: c_int) -> c_int;
    fn sleep(seconds: u32) -> u32;
    fn close(fd: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

fn said(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn tried(what: &str, succeeded: bool) {
    if succeeded {
        println!("{what}");
    }
}

extern "C" fn before_main() {
    match said("MANNER").as_str() {
        "tries" => {}
        "sleeps" => unsafe { sleep(100_000); },
        "sleeps in silence" => unsafe {
            close(1);
            close(2);
            sleep(100_000);
        },
        "spins" => loop {
            std::hint::spin_loop();
        },
        "floods" => loop {
            println!("flood");
        },
        "eats" => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1_u8; 1 << 20]);
            }
        }
        _ => return,
    }
    let (file, secret) = (said("FILE"), said("SECRET"));
    let to = |name: &str| format!("127.0.0.1:{}", said(name));
    unsafe {
        let tmpfs = |at: &std::ffi::CStr| mount(c"t".as_ptr(), at.as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null());
        tried("mounts", [c"/mnt", c"/tmp", c"/"].iter().any(|at| tmpfs(at) == 0));
        tried("has a namespace", unshare(0x1000_0000) == 0 || unshare(0x0002_0000) == 0);
        tried("traces", ptrace(16, 1, 0, 0) == 0);
        tried("signals its keeper", kill(1, 0) == 0 || kill(-1, 0) == 0);
        tried("is root", setuid(0) == 0 && said("ROOT") == "no");
        match fork() {
            0 => _exit(0),
            child => tried("forks", child > 0),
        }
        // io_uring_setup(2), by which a filter could be gone round; keyctl(2), bpf(2), and the
        // number of mount(2) of another architecture.
        for number in [425, 250, 321, 0x4000_0000 + 165] {
            tried(&format!("has system call {number}"), syscall(number, 1_i64, 0_i64, 0_i64) >= 0);
        }
    }
    tried("writes", std::fs::write(&file, "written").is_ok());
    tried("writes beside itself", std::fs::write("/file", "written").is_ok());
    tried("removes", std::fs::remove_file(&secret).is_ok());
    tried("reads", std::fs::read(&secret).is_ok() || std::fs::read("/etc/passwd").is_ok());
    tried("sees", std::fs::metadata(&secret).is_ok() || std::fs::read_dir("/").is_ok());
    tried("starts", std::process::Command::new("/bin/true").spawn().is_ok());
    tried("connects", TcpStream::connect(to("PORT")).is_ok());
    tried("listens", TcpListener::bind("127.0.0.1:0").is_ok());
    tried("sends", UdpSocket::bind("127.0.0.1:0").is_ok());
    tried("connects by a path", UnixStream::connect(said("SOCKET")).is_ok());
    let held = (3..64).filter(|fd| unsafe { syscall(5, *fd as i64, [0_u8; 256].as_mut_ptr()) } == 0);
    tried("holds a descriptor", held.count() > 0);
    // A thread harms nobody, and a constructor may start one.
    tried("a thread", std::thread::spawn(|| ()).join().is_ok());
}

fn main() {
    println!("{:?}", std::env::args().skip(1).collect::<Vec<_>>());
    println!("{:?}", std::env::vars().map(|(name, _)| name).collect::<Vec<_>>());
    eprintln!("to standard error");
    std::process::exit(7);
}
