//! The guard: a guest test that ran on the host would test the host, and might harm it.
//!
//! It runs before anything else of a test binary does: before the constructors of the tests and of
//! all that they link, and so before the standard library is ready. It does with the arguments that it
//! gets, and with system calls.

use std::ffi::{CStr, c_char, c_int};

use nix::libc;
use uml_protocol::env;

/// What a kernel that is User Mode Linux says in /proc/cpuinfo.
const VENDOR: &[u8] = b"User Mode Linux";

/// What is said on the host; to those who ask for it in words, the list of no cases and the run of
/// none: `cargo test --all-features` stays green.
const REFUSED: &str = "guest tests run only inside a guest: use `cargo xtask test-in-uml`\n";
const NONE_RAN: &str = "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\n";

/// The build script has every test binary need this by its name, which is what the linker says of a
/// test file that does not link it.
///
/// SAFETY of the section: the C runtime calls the functions in `.preinit_array` once, before all
/// those of `.init_array` and before `main`; glibc passes argc, argv and envp.
#[used]
#[unsafe(link_section = ".preinit_array")]
#[unsafe(export_name = "each_test_file_begins_with__use_uml_test_as_underscore")]
static GUARD: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = guard;

/// What a scenario has this binary do in another guest comes before its tests; the standard library is ready by
/// then. It is here because what is in a library and nobody names is not linked.
#[used]
#[unsafe(link_section = ".init_array")]
static PART: extern "C" fn() = crate::part::run_if_asked;

extern "C" fn guard(_: c_int, args: *const *const c_char, vars: *const *const c_char) {
    let has = |name: &str| {
        // SAFETY: the C runtime passes the environment.
        unsafe { texts(vars) }.any(|var| {
            var.to_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
        })
    };
    if has(env::LISTING) && is_shut_in() || has(env::GUEST) && is_uml() {
        return;
    }
    // SAFETY: the C runtime passes the arguments.
    let lists = unsafe { texts(args) }.any(|arg| arg == c"--list");
    write(libc::STDERR_FILENO, REFUSED);
    write(libc::STDOUT_FILENO, if lists { "" } else { NONE_RAN });
    // SAFETY: no handler of exit(3) is to run: those who would install them have not.
    unsafe { libc::_exit(0) }
}

/// The texts of an array that ends with a null pointer.
///
/// # Safety
/// `array` is one, and stays.
unsafe fn texts(array: *const *const c_char) -> impl Iterator<Item = &'static CStr> {
    // SAFETY: no element beyond the null pointer is looked at; each of those before it is a text.
    (0..).map_while(move |index| unsafe {
        let text = *array.add(index);
        (!text.is_null()).then(|| CStr::from_ptr(text))
    })
}

/// Returns true if a filter of system calls holds us, and no new privileges are to be had: xtask lists the
/// cases of a test binary like that.
fn is_shut_in() -> bool {
    // SAFETY: both ask for a number.
    unsafe {
        libc::prctl(libc::PR_GET_SECCOMP) == 2
            && libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
    }
}

fn is_uml() -> bool {
    // The vendor comes in the second line.
    let mut text = [0_u8; 512];
    // SAFETY: the path ends with a zero, and the buffer is as long as is said.
    let count = unsafe {
        let file = libc::open(c"/proc/cpuinfo".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        let count = libc::read(file, text.as_mut_ptr().cast(), text.len());
        libc::close(file);
        count
    };
    let text = text.get(..usize::try_from(count).unwrap_or(0)).unwrap_or_default();
    text.windows(VENDOR.len()).any(|window| window == VENDOR)
}

fn write(descriptor: c_int, text: &str) {
    // SAFETY: the text is as long as is said.
    unsafe { libc::write(descriptor, text.as_ptr().cast(), text.len()) };
}
