//! What a guest could do to its host whose kernel runs code of an attacker's choice: a program of ours takes
//! the kernel's place and tries. On the host itself the same program has its way.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::geteuid;
use test_in_uml::cancel::CancelToken;
use test_in_uml::guest::machine::End;
use test_in_uml::guest::{Calibration, Connect, Gone, GuestSpec, Init, LinkBy, NetDriver, boot};
use test_in_uml::isolation::{Isolation, Privilege};
use test_in_uml::layout::Layout;
use test_in_uml::stage::{Attachment, GuestCommand, Share, Sight, Stage, StageOptions};

use super::broken_image::made_by;
use super::hosts::{as_nobody, device_with_mode};
use super::support::{in_a_guests_place, isolation, processes_of_nobody, unique};

/// The user that a guest of root is on the host; an ordinary user's is that user.
const NOBODY: u32 = 65534;

const SECRET: &str = "a secret of the user's\n";

/// What a guest may write to its folder, in bytes.
const FOLDER: u64 = 16 << 20;

/// Builds the attacker, linked statically: there is nothing else in its root.
fn build_attacker(dir: &Path) -> PathBuf {
    let (source, program) = (dir.join("attacker.c"), dir.join("attacker"));
    fs::write(&source, include_str!("attacker.c")).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-static", "-O1", "-o"]).arg(&program).arg(source);
    assert!(gcc.status().unwrap().success());
    program
}

/// What is there to be attacked: all of it belongs to the user that guests are run as.
struct Host {
    dir: tempfile::TempDir,
    attacker: PathBuf,
    unix: UnixListener,
    abstract_name: String,
    abstract_socket: UnixListener,
    tcp: TcpListener,
    victim: Child,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let attacker = build_attacker(dir.path());
        let secret = dir.path().join("secret");
        fs::write(&secret, SECRET).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let unix = UnixListener::bind(dir.path().join("socket")).unwrap();
        fs::set_permissions(dir.path().join("socket"), fs::Permissions::from_mode(0o777)).unwrap();
        File::create(dir.path().join("image")).unwrap().set_len(1 << 20).unwrap();
        if geteuid().is_root() {
            chown(&secret, Some(NOBODY), Some(NOBODY)).unwrap();
            chown(dir.path().join("image"), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let abstract_name = unique("abstract");
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let abstract_socket = UnixListener::bind_addr(&address).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        for nonblocking in [
            unix.set_nonblocking(true),
            abstract_socket.set_nonblocking(true),
            tcp.set_nonblocking(true),
        ] {
            nonblocking.unwrap();
        }
        let victim = as_guest("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        Self { dir, attacker, unix, abstract_name, abstract_socket, tcp, victim }
    }

    /// What the attacker is told, after the name of its own file.
    fn told(&self, image: &Path, folder: u64) -> Vec<String> {
        let path = |name: &str| self.dir.path().join(name).to_string_lossy().into_owned();
        vec![
            path("secret"),
            image.to_string_lossy().into_owned(),
            path("socket"),
            self.abstract_name.clone(),
            self.tcp.local_addr().unwrap().port().to_string(),
            folder.to_string(),
            std::process::id().to_string(),
            self.victim.id().to_string(),
        ]
    }

    fn is_untouched(&mut self) {
        assert_eq!(fs::read_to_string(self.dir.path().join("secret")).unwrap(), SECRET);
        let blocks = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
        assert!(self.unix.accept().is_err_and(blocks), "somebody connected");
        assert!(self.abstract_socket.accept().is_err_and(blocks), "somebody connected");
        assert!(self.tcp.accept().is_err_and(blocks), "somebody connected");
        assert!(self.victim.try_wait().unwrap().is_none(), "a process was killed");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// A program of the host as the user that guests are run as.
fn as_guest(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
    command
}

/// Each attempt, with whether it was successful.
fn attempts(said: &str) -> Vec<(&str, bool)> {
    let lines = said.lines().filter_map(|line| match line.strip_suffix(" DONE") {
        Some(name) => Some((name, true)),
        None => line.split_once(" failed: ").map(|(name, _)| (name, false)),
    });
    lines.collect()
}

#[test]
fn on_the_host_itself_the_attacker_has_its_way() {
    let host = Host::new();
    let mut command = as_guest(&host.attacker);
    // Without PATH it leaves out what would do harm here.
    command.args(host.told(&host.dir.path().join("image"), FOLDER)).env_clear();
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for needed in [
        "read a secret",
        "overwrite a secret",
        "read passwords",
        "write to the image",
        "connect to a socket",
        "connect to an abstract socket",
        "connect by TCP",
        "list processes",
        "see a process",
        "kill a process",
    ] {
        assert!(attempts(&said).contains(&(needed, true)), "no {needed:?} in: {said}");
    }
}

/// What Landlock and the filter of system calls alone do not keep a guest from, but for the memory and the processes that
/// it can take: that is not tried on a host where others would miss them.
const WITHOUT_NAMESPACES: [&str; 1] = ["connect to a socket"];

/// Lets the attacker try on a stage of its own, beside another guest.
fn attack(isolation: &Isolation, attachment: Attachment) {
    let _held = processes_of_nobody();
    let mut host = Host::new();
    let bare = *isolation.privilege() == Privilege::None;
    let stage = Stage::start(isolation, &StageOptions { size: FOLDER, attachment }).unwrap();
    let (link, other) =
        (stage.add_link(NetDriver::Vector).unwrap(), stage.add_link(NetDriver::Vector).unwrap());
    let kernel = stage.expose(&host.attacker, "kernel").unwrap();
    let image = stage.expose(&host.dir.path().join("image"), "image").unwrap();
    let (console, theirs) = std::io::pipe().unwrap();
    let mut argv = vec![kernel.clone().into_os_string()];
    argv.extend(host.told(&image, if bare { 0 } else { FOLDER }).into_iter().map(Into::into));
    let sight = Sight::of_program(&host.attacker).unwrap().with(&kernel).with(&image);
    let command = GuestCommand {
        argv,
        sight: if attachment.is_tap() { sight.with_tap() } else { sight },
        share: Share::default(),
        address_space: Some(4 << 30),
        console: theirs.into(),
    };
    let guest = stage.spawn(&link, &command).unwrap();
    drop(command);
    let lines = BufReader::new(console).lines().map(|line| line.unwrap() + "\n");
    let said: String = lines.take_while(|line| line != "over\n").collect();
    let attempts = attempts(&said);
    // Most names stand for several attempts.
    assert!(attempts.len() > if bare { 60 } else { 70 }, "it did not try everything: {said}");
    let done: Vec<_> = attempts.iter().filter(|attempt| attempt.1).map(|done| done.0).collect();
    if bare {
        assert_eq!(done, WITHOUT_NAMESPACES, "{said}");
        host.unix.accept().unwrap();
    } else {
        let own: &[&str] = if attachment.is_tap() { &["CONTROL the own tap"] } else { &[] };
        assert_eq!(done, own, "{said}");
    }
    host.is_untouched();

    // While it holds all the processes that it could get, others can have some.
    let (mut console, theirs) = std::io::pipe().unwrap();
    let argv = ["/bin/sh", "-c", "(true) && echo forked; echo x >file && echo written"];
    let command = in_a_guests_place(argv.map(Into::into).to_vec(), theirs);
    let neighbour = stage.spawn(&other, &command).unwrap();
    drop(command);
    let mut said = String::new();
    console.read_to_string(&mut said).unwrap();
    assert_eq!(said, "forked\nwritten\n");
    drop((guest, neighbour));
    stage.remove_link(&link).unwrap();
    stage.shutdown().unwrap();
}

#[test]
fn a_guest_that_runs_an_attackers_code_gets_nothing_of_its_host() {
    attack(&isolation(), Attachment::Tap);
    attack(&isolation(), Attachment::Socket);
}

#[test]
fn what_an_attacker_gets_without_namespaces_is_known() {
    let bare = isolation().without_namespaces();
    // Its sixth version, that of Linux 6.12, keeps abstract sockets and signals from who has a domain (landlock(7)).
    let null = std::ptr::null::<nix::libc::c_void>();
    // SAFETY: landlock_create_ruleset(2) takes no attributes when it is asked for its version.
    let version = unsafe { nix::libc::syscall(nix::libc::SYS_landlock_create_ruleset, null, 0, 1) };
    if version >= 6 {
        attack(&bare, Attachment::Socket);
    }
}

#[test]
fn an_ordinary_users_guest_gets_nothing_of_its_host_either() {
    // Whoever is no root has just tried as an ordinary user.
    if let Some(user) = as_nobody(&device_with_mode("0666")) {
        attack(&user.isolation(), Attachment::Tap);
        attack(&user.isolation(), Attachment::Socket);
    }
}

#[test]
#[ignore = "needs a kernel and an image"]
fn a_kernel_runs_as_an_ordinary_users_guest() {
    for (mode, attachment) in [("0666", Attachment::Tap), ("0600", Attachment::Socket)] {
        let Some(user) = as_nobody(&device_with_mode(mode)) else { return };
        assert_eq!(Attachment::of(&user.isolation()), attachment);
        boot_as(&user.isolation(), attachment);
    }
}

fn boot_as(isolation: &Isolation, attachment: Attachment) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let chosen = std::env::var("UML_SHELL_ARGS").unwrap_or_default();
    let (built, made) = (made_by("kernel", &chosen), made_by("image", ""));
    // The store is closed to other users.
    let [kernel, image] = ["linux", "image"].map(|name| dir.path().join(name));
    for (from, to) in [(&built, &kernel), (&made, &image)] {
        let copied = Command::new("cp").arg("--sparse=always").args([from, to]).status();
        assert!(copied.unwrap().success());
    }
    fs::set_permissions(&image, fs::Permissions::from_mode(0o644)).unwrap();
    let config = fs::read_to_string(built.with_file_name("config")).unwrap();
    let vector = config.contains("CONFIG_UML_NET_VECTOR=y");
    fs::write(kernel.with_file_name("config"), config).unwrap();
    let stage = Stage::start(isolation, &StageOptions { size: 1 << 31, attachment }).unwrap();
    let spec = GuestSpec {
        known_boot_complaints: &[],
        name: "guest",
        kernel: (&kernel, &stage.expose(&kernel, "kernel").unwrap()),
        image: (&image, &stage.expose(&image, "image").unwrap()),
        disk: test_in_uml::guest::Disk::Own,
        memory: "256M".parse().unwrap(),
        link_by: LinkBy::Kernel,
        connect: Connect::NONE,
        net_driver: if vector { NetDriver::Vector } else { NetDriver::Legacy },
        init: Init::Agent,
        disks: &[],
        interfaces: &[],
        cancel: &CancelToken::default(),
        arguments: &[],
        era: &["noreboot"],
        nonce: "nonce",
        share: Share::default(),
        boot_timeout: Duration::from_secs(60),
        console_log: dir.path().join("guest.console"),
    };
    let layout = Layout::new(dir.path().into(), dir.path().into()).unwrap();
    let guest = boot(&stage, &spec, &mut Calibration::of(&layout, "none")).unwrap();
    let Gone { end, strays: complaints, .. } = guest.shutdown().unwrap();
    assert!(matches!(end, End::Clean { .. }) && complaints.is_empty(), "{end:?}, {complaints:?}");
    // Some libraries are loaded at the very end only.
    let console = fs::read_to_string(dir.path().join("guest.console")).unwrap();
    assert!(!console.contains("must be installed"), "{console}");
    stage.shutdown().unwrap();
}
