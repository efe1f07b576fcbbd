//! Hosts that refuse something, or are set up oddly: what can work works, what cannot says so.
//!
//! A test makes such a host for itself: with a seccomp filter on its own thread, which everything
//! that it starts inherits, or with a script around our executable.
//!
//! Longer than 300 lines: each host is a test of its own, and all are made in these two ways.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::libc;
use nix::unistd::geteuid;
use test_in_uml::guest::NetDriver;
use test_in_uml::isolation::{Cmd, Facility, Ids, Isolation, Output, Privilege};
use test_in_uml::stage::{Attachment, Stage, StageOptions};

use super::store::{Host, KERNEL, says};
use super::support::{exe, in_a_guests_place, xtask};
use super::workspace::Workspace;

fn doctor() -> Command {
    let mut command = xtask();
    command.arg("doctor");
    command
}

/// The writing end of a pipe that nobody reads.
fn broken() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

/// A system call that is refused; with a mask, only where its first argument has a bit of it.
struct Refused(libc::c_long, Option<u32>);

/// Does something in a thread for which the kernel refuses `calls`, as a container's profile does.
fn refusing<T: Send>(calls: &[Refused], act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            filter(calls);
            act()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Installs the filter for this thread (seccomp(2)).
fn filter(calls: &[Refused]) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let jump = |kind: u32, k: u32, jf: u8| libc::sock_filter {
        code: (libc::BPF_JMP | kind | libc::BPF_K) as u16,
        jt: 0,
        jf,
        k,
    };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut program = Vec::new();
    for Refused(call, mask) in calls {
        // `struct seccomp_data` begins with the number of the call; its arguments follow at 16.
        program.push(load(0));
        program.push(jump(
            libc::BPF_JEQ,
            u32::try_from(*call).unwrap(),
            1 + 2 * mask.is_some() as u8,
        ));
        if let Some(mask) = mask {
            program.push(load(16));
            program.push(jump(libc::BPF_JSET, *mask, 1));
        }
        program.push(statement(libc::BPF_RET, refuse));
    }
    program.push(statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap(),
        filter: program.as_mut_ptr(),
    };
    nix::sys::prctl::set_no_new_privs().unwrap();
    // SAFETY: the program outlives the call, and prctl(2) copies it.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
    nix::errno::Errno::result(done).unwrap();
}

/// Our executable behind a script, which ends with `exec … "$0.real" "$@"`.
pub struct Wrapped {
    dir: tempfile::TempDir,
}

impl Wrapped {
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wrapped = Self { dir };
        // Another user may not be able to reach the executable itself.
        fs::copy(exe(), wrapped.exe().with_extension("real")).unwrap();
        fs::write(wrapped.exe(), format!("#!/bin/sh\nset -e\n{script}\n")).unwrap();
        for path in [wrapped.dir.path(), &wrapped.exe()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        wrapped
    }

    fn exe(&self) -> PathBuf {
        self.dir.path().join("xtask")
    }

    pub fn isolation(&self) -> Isolation {
        Isolation::find(&self.exe()).unwrap()
    }
}

/// What was said of a facility, which was refused.
fn refusal(isolation: &Isolation, facility: Facility) -> String {
    let all = isolation.tried();
    let found = all.iter().find(|tried| tried.facility == facility);
    found.unwrap_or_else(|| panic!("{all:?}")).result.clone().unwrap_err()
}

/// What a contained step says.
fn contained(isolation: &Isolation, ids: Ids, words: &[&str]) -> String {
    let (mut output, theirs) = std::io::pipe().unwrap();
    let step = Cmd::new(words[0]).args(&words[1..]).ids(ids);
    let mut running = step.start(isolation, Output::Both(theirs.into())).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    running.wait().unwrap();
    text
}

/// What a program says that runs as a guest would.
fn guest_says(isolation: &Isolation, text: &str) -> String {
    guest_says_on(isolation, Attachment::Tap, text)
}

fn guest_says_on(isolation: &Isolation, attachment: Attachment, text: &str) -> String {
    let stage = Stage::start(isolation, &StageOptions { size: 16 << 20, attachment }).unwrap();
    let link = stage.add_link(NetDriver::Vector).unwrap();
    let (mut console, theirs) = std::io::pipe().unwrap();
    let argv = ["/bin/sh", "-c", text].map(Into::into).to_vec();
    let command = in_a_guests_place(argv, theirs);
    let guest = stage.spawn(&link, &command).unwrap();
    drop(command);
    let mut said = String::new();
    console.read_to_string(&mut said).unwrap();
    drop(guest);
    stage.shutdown().unwrap();
    said
}

/// Asks for guests on a host with everything else: it must say no before anything is built.
fn says_no_at_once(host: &Host, command: &mut Command, words: &[&str]) {
    host.go();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(96), "{}", says(&output));
    for word in words.iter().chain(&["guests cannot run", "cure:", "xtask doctor"]) {
        assert!(says(&output).contains(word), "no {word:?} in: {}", says(&output));
    }
    assert_eq!(host.builds(), 0);
    assert!(!host.path("checkout/uml/guest-target").exists());
}

#[test]
fn a_reader_who_has_had_enough_changes_nothing() {
    let usual = doctor().output().unwrap();
    let output = doctor().stdout(broken()).output().unwrap();
    assert_eq!((output.status.code(), says(&output)), (usual.status.code(), says(&usual)));
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = doctor().stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(96));
    let said = says(&output);
    assert!(said.starts_with("error: cannot write to standard output: No space left"), "{said}");
}

#[test]
fn nobody_has_to_hear_of_an_error_for_its_exit_code() {
    for lost in [broken(), File::options().write(true).open("/dev/full").unwrap().into()] {
        let mut command = xtask();
        command.args(["kernel", "--kernel", "none"]).stderr(lost);
        assert_eq!(command.status().unwrap().code(), Some(2));
    }
}

#[test]
fn a_container_that_refuses_namespaces_still_builds_kernels() {
    let host = Host::new();
    refusing(&[Refused(libc::SYS_unshare, None)], || {
        let output = doctor().output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains("MISS  namespaces: ") && text.contains("seccomp=unconfined"),
            "{text}"
        );
        for command in ["shell", "test-in-uml"] {
            let args = [command, "--isolation", "namespaces", "--kernel", KERNEL];
            says_no_at_once(&host, &mut host.xtask("checkout", &args), &["seccomp=unconfined"]);
        }
        let output = host.kernel("checkout").output().unwrap();
        assert!(output.status.success(), "{}", says(&output));
        assert_eq!(host.builds(), 1);
    });
}

#[test]
fn a_list_is_made_behind_a_filter_alone_or_not_at_all() {
    let workspace = Workspace::new(&[
        ("one", "#[test]\nfn a_case() {}\n"),
        ("two", "#[test]\nfn other() {}\n"),
    ]);
    let list = || workspace.xtask(&["test-in-uml", "--list"]);
    let unshare = || Refused(libc::SYS_unshare, None);
    let (code, listed, said) = refusing(&[unshare()], list);
    assert_eq!((code, &*listed), (Some(0), "one a_case\ntwo other\n"), "{said}");
    let how = "what lists cases is held by a filter of system calls and by limits alone";
    assert_eq!(said.matches(how).count(), 1, "{said}");
    // What is kept needs no host at all.
    let refused = [unshare(), Refused(libc::SYS_seccomp, None)];
    assert_eq!(
        refusing(&refused, list),
        (Some(0), "one a_case\ntwo other\n".into(), String::new())
    );

    fs::remove_file(workspace.path("target/uml/guest-target/lists.json")).unwrap();
    for refused in [&refused[..], &refused[1..]] {
        let (code, listed, said) = refusing(refused, list);
        assert_eq!((code, &*listed), (Some(96), ""), "{said}");
        assert!(said.contains("this host refuses system call filters"), "{said}");
    }
}

#[test]
fn namespaces_in_which_nothing_is_allowed_are_none() {
    // As AppArmor's restriction of Ubuntu 24.04: unshare(2) succeeds, and what follows is denied.
    let isolation = refusing(&[Refused(libc::SYS_mount, None)], || Isolation::find(exe()).unwrap());
    assert_eq!(*isolation.privilege(), Privilege::None);
    let why = refusal(&isolation, Facility::Namespaces);
    assert!(why.contains("mount") && why.contains("EPERM"), "{why}");
    let step = contained(&isolation, Ids::Own, &["echo", "it runs"]);
    assert_eq!(step, "it runs\n");
}

#[test]
fn without_any_user_namespace_left_the_limit_is_named() {
    // The limit is one of each user namespace: this one has no more, and the host's is untouched.
    let script = "echo 0 >/proc/sys/user/max_user_namespaces; exec \"$@\"";
    let host = Host::new();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]);
    let inner = host.xtask("checkout", &["shell", "--isolation", "namespaces", "--kernel", KERNEL]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    says_no_at_once(&host, &mut command, &["sysctl user.max_user_namespaces="]);
}

#[test]
fn without_ptrace_steps_run_and_guests_do_not() {
    let why = refusing(&[Refused(libc::SYS_ptrace, None)], || {
        let isolation = Isolation::find(exe()).unwrap();
        assert!(*isolation.privilege() != Privilege::None, "steps need none");
        let error =
            Stage::start(&isolation, &StageOptions { size: 1 << 20, attachment: Attachment::Tap })
                .unwrap_err();
        assert!(error.to_string().contains("guests cannot run on this host: ptrace"), "{error}");
        refusal(&isolation, Facility::Ptrace)
    });
    assert!(why.contains("EPERM"), "{why}");
}

#[test]
fn a_personality_that_is_refused_costs_no_guest() {
    const ADDR_NO_RANDOMIZE: u32 = 0x0040000;
    refusing(&[Refused(libc::SYS_personality, Some(ADDR_NO_RANDOMIZE))], || {
        let isolation = Isolation::find(exe()).unwrap();
        assert!(refusal(&isolation, Facility::Personality).contains("EPERM"));
        // Between the end of its data and its heap, in bytes: one in eight has so little by chance.
        let room = "read -r line </proc/$$/stat; set -- ${line##*) }; echo $((${45} - ${44}))";
        for _ in 0..5 {
            let said = guest_says(&isolation, room);
            let room: u64 = said.trim().parse().unwrap();
            assert!((1..128 << 20).contains(&room), "{said}");
        }
        let output = doctor().output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("MISS  personality") && text.contains("guests run, but"), "{text}");
    });
}

#[test]
fn walls_that_a_host_cannot_build_are_named_and_guests_have_the_others() {
    for (call, wall, effect) in [
        (libc::SYS_seccomp, Facility::Seccomp, "any system call of this host"),
        (libc::SYS_landlock_create_ruleset, Facility::Landlock, "a root of their own alone"),
        (libc::SYS_unshare, Facility::ProcessLimit, "as many processes as you can"),
    ] {
        // Namespaces within a namespace are refused, and the first is not.
        let only = (call == libc::SYS_unshare).then_some(libc::CLONE_NEWUSER.cast_unsigned());
        if only.is_some() && !geteuid().is_root() {
            continue;
        }
        refusing(&[Refused(call, only)], || {
            let isolation = Isolation::find(exe()).unwrap();
            assert!(refusal(&isolation, wall).starts_with("refused"), "{wall}");
            assert_eq!(
                guest_says(&isolation, "echo alive; ls -d /root 2>/dev/null"),
                "alive\n",
                "{wall}"
            );
            let output = doctor().output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains(&format!("MISS  {wall}")) && text.contains(effect), "{text}");
        });
    }
}

#[test]
fn where_guests_could_not_have_a_root_of_their_own_there_are_none() {
    refusing(&[Refused(libc::SYS_pivot_root, None)], || {
        let isolation = Isolation::find(exe()).unwrap();
        assert!(*isolation.privilege() != Privilege::None, "steps need none");
        let error =
            Stage::start(&isolation, &StageOptions { size: 1 << 20, attachment: Attachment::Tap })
                .unwrap_err();
        let error = error.to_string();
        assert!(error.contains("guests cannot run on this host: pivot_root"), "{error}");
    });
}

#[test]
fn without_a_device_for_taps_links_are_sockets() {
    let script = "mount -t tmpfs none /dev/net; exec \"$0.real\" \"$@\"";
    let wrapped = Wrapped::new(&format!(
        "exec unshare --mount {} sh -c '{script}' \"$0\" \"$@\"",
        if geteuid().is_root() { "" } else { "--map-root-user" }
    ));
    let isolation = wrapped.isolation();
    let why = refusal(&isolation, Facility::Tap);
    assert!(why.contains("/dev/net/tun") && why.contains("No such file"), "{why}");
    let error =
        Stage::start(&isolation, &StageOptions { size: 1 << 20, attachment: Attachment::Tap })
            .unwrap_err()
            .to_string();
    assert!(error.contains("tap: cannot open /dev/net/tun"), "who insists on taps: {error}");
    assert_eq!(Attachment::of(&isolation), Attachment::Socket);
    assert_eq!(guest_says_on(&isolation, Attachment::Socket, "echo here"), "here\n");
}

#[test]
fn the_roots_of_containers_and_namespaces_set_a_stage_of_their_own() {
    let mut roots = vec!["unshare --user --map-root-user".to_owned()];
    if geteuid().is_root() {
        // A container's flags may give its root some of what a stage is made with, and not all.
        for missing in ["sys_admin", "net_admin", "mknod"] {
            roots.push(format!("setpriv --bounding-set=-{missing} --inh-caps=-{missing}"));
        }
    }
    for root in roots {
        let wrapped = Wrapped::new(&format!("exec {root} \"$0.real\" \"$@\""));
        let isolation = wrapped.isolation();
        assert_eq!(*isolation.privilege(), Privilege::UserNamespace, "{root}: {isolation:?}");
        assert_eq!(guest_says(&isolation, "id -u"), "0\n", "{root}");
        assert_eq!(contained(&isolation, Ids::Own, &["id", "-u"]), "0\n", "{root}");
    }
}

/// Our executable as a user without any privilege, group or range of ids, whom root alone can become.
pub fn as_nobody(before: &str) -> Option<Wrapped> {
    let drop = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    geteuid().is_root().then(|| Wrapped::new(&format!("{before}\nexec {drop} \"$0.real\" \"$@\"")))
}

/// Before it, the device for taps is given that mode, in a mount namespace of its own.
pub fn device_with_mode(mode: &str) -> String {
    format!(
        "if [ -z \"$IN\" ]; then IN=1 exec unshare --mount \"$0\" \"$@\"; fi\n\
                mknod \"$0.tun.$$\" c 10 200; chmod {mode} \"$0.tun.$$\"\n\
                mount --bind \"$0.tun.$$\" /dev/net/tun"
    )
}

#[test]
fn an_ordinary_user_meets_a_closed_device_and_no_range_of_ids() {
    let Some(closed) = as_nobody(&device_with_mode("0600")) else { return };
    let isolation = closed.isolation();
    assert_eq!(*isolation.privilege(), Privilege::UserNamespace, "{isolation:?}");
    assert!(refusal(&isolation, Facility::Tap).contains("Permission denied"));
    assert_eq!(isolation.refused_to_guests(true).map(|tried| tried.facility), Some(Facility::Tap));
    let said = contained(&isolation, Ids::Subordinate, &["true"]);
    assert!(said.contains("/etc/subuid grants no range to nobody"), "{said}");
    assert!(said.contains("usermod --add-subuids"), "{said}");

    let open = as_nobody(&device_with_mode("0666")).unwrap();
    let said =
        guest_says(&open.isolation(), "id -u; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status");
    assert_eq!(said, "0\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n");
}

#[test]
fn an_odd_temporary_folder_is_said_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for (odd, why) in [
        (OsStr::new("relative"), "is not an absolute path"),
        (OsStr::new("/no/such/folder"), "is no folder"),
        (file.as_os_str(), "is no folder"),
    ] {
        let output = doctor().env("TMPDIR", odd).output().unwrap();
        let said = says(&output);
        assert!(said.contains(&*odd.to_string_lossy()) && said.contains(why), "{said}");
    }
    let output = doctor().env("TMPDIR", dir.path()).output().unwrap();
    assert!(!says(&output).contains("TMPDIR"), "{}", says(&output));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--user", "--map-root-user", "sh", "-c"]);
    command.args(["mount -t tmpfs -o ro none /mnt; TMPDIR=/mnt exec \"$0\" doctor"]).arg(exe());
    let said = says(&command.output().unwrap());
    assert!(said.contains("TMPDIR=/mnt cannot be written to (Read-only file system)"), "{said}");
}

#[test]
fn a_strict_umask_is_ours_alone() {
    let wrapped = Wrapped::new("umask 077; exec \"$0.real\" \"$@\"");
    let isolation = wrapped.isolation();
    assert_eq!(contained(&isolation, Ids::Own, &["sh", "-c", "umask"]), "0022\n");
    assert_eq!(guest_says(&isolation, "umask"), "0022\n");
}

#[test]
fn low_limits_are_named_and_kill_nobody() {
    let limited = |limits: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{limits}; exec \"$0\" doctor")]).arg(exe());
        command
    };
    let output = limited("ulimit -n 100; ulimit -f 4000").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for limit in ["MISS  ulimit -n: the limit is 100", "MISS  ulimit -f: the limit is 2048000"] {
        assert!(text.contains(limit), "{text}");
    }
    let host = Host::new();
    let mut shell = Command::new("sh");
    let script = format!("ulimit -f 4000; exec \"$0\" shell --kernel {KERNEL}");
    shell.args(["-c", &script]).arg(exe());
    let said = says(&shell.env("UML_CACHE_DIR", host.path("cache")).output().unwrap());
    assert!(said.contains("`ulimit -f` allows 1: raise that"), "{said}");
    let full = File::create(host.path("out")).unwrap();
    let output = limited("ulimit -f 1").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(96), "{output:?}");
    assert!(says(&output).contains("File too large"), "{}", says(&output));
}

#[test]
fn no_terminal_gets_no_escape_sequence() {
    for (name, value) in [("TERM", "dumb"), ("NO_COLOR", "1"), ("TERM", "xterm")] {
        let output = doctor().env(name, value).env_remove("LANG").output().unwrap();
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{name}={value}");
    }
}

#[test]
fn odd_letters_and_long_paths_hold_a_cache_and_a_checkout() {
    let host = Host::new();
    host.go();
    let cache = host.path("an odd – cäche, with: 'quotes\"");
    let checkout = format!("{}/x", ["a".repeat(90), "b".repeat(90)].join("/"));
    let output = host.kernel(&checkout).env("UML_CACHE_DIR", &cache).output().unwrap();
    assert!(output.status.success(), "{}", says(&output));
    let linux = String::from_utf8(output.stdout).unwrap();
    assert!(Path::new(linux.trim_end()).starts_with(&cache), "{linux}");
    for odd in ["a b", "a:b"] {
        let output = host.kernel(odd).env("UML_CACHE_DIR", host.path("new")).output().unwrap();
        assert_eq!(output.status.code(), Some(96));
        let said = says(&output);
        assert!(said.contains(odd) && said.contains("CARGO_TARGET_DIR"), "{said}");
    }
}

#[test]
fn folders_that_another_user_made_are_named_with_the_way_out() {
    // Root without capabilities meets another user's folders as any user meets root's.
    let Some(wrapped) = geteuid().is_root().then(|| {
        Wrapped::new("exec setpriv --bounding-set=-all --inh-caps=-all \"$0.real\" \"$@\"")
    }) else {
        return;
    };
    for place in [
        "checkout/uml",
        "checkout/uml/runs",
        "checkout/uml/kernels",
        &format!("checkout/uml/kernels/{KERNEL}"),
        "checkout/uml/guest-target",
        "cache/apt",
        "cache/facts",
        "cache/store/locks",
        "cache/store",
        "cache",
    ] {
        let host = Host::new();
        host.go();
        let inner = host.kernel("checkout");
        fs::create_dir_all(host.path(place)).unwrap();
        // What is above must be ours, and closed to others.
        fs::set_permissions(host.path(place), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(host.path(place), Some(65534), None).unwrap();
        let mut command = Command::new(wrapped.exe());
        command.args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.output().unwrap();
        let said = says(&output);
        assert_eq!(output.status.code(), Some(96), "{place}: {said}");
        assert!(said.contains("belongs to nobody (65534)"), "{place}: {said}");
        let cure = format!("chown -R 0 {}", host.path(place).display());
        assert!(said.contains(&cure), "{place}: {said}");
        assert_eq!(host.builds(), 0);
    }
}

#[test]
fn root_is_told_whom_it_would_lock_out() {
    if !geteuid().is_root() {
        // Nobody else locks others out.
        return;
    }
    // The checkout as another user's: with a layer above it, of which the root folder is theirs.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let script = "mount -t tmpfs none /mnt && mkdir /mnt/upper /mnt/work && chown 65534 /mnt/upper\n\
                  mount -t overlay none -o lowerdir=\"$1\",upperdir=/mnt/upper,workdir=/mnt/work \"$1\"\n\
                  exec \"$0\" doctor";
    let host = Host::new();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script]).arg(exe()).arg(root);
    let output = command.env("UML_CACHE_DIR", host.path("cache")).output().unwrap();
    let said = says(&output);
    assert!(said.contains("this checkout belongs to nobody (65534)"), "{said}");
    assert!(said.contains("CARGO_TARGET_DIR"), "{said}");
}
