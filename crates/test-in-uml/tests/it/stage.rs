use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddrV4;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use test_in_uml::guest::NetDriver;
use test_in_uml::stage::{Attachment, GuestCommand, Link, Share, Stage, StageOptions};

use super::support::{
    eventually, in_a_guests_place, is_running, isolation, processes_with, sleeper, unique,
};

fn stage() -> Stage {
    Stage::start(&isolation(), &StageOptions { size: 16 << 20, attachment: Attachment::Tap })
        .unwrap()
}

/// Starts a program as a guest would be; returns what it writes once it ends, with its status.
fn guest_says(stage: &Stage, link: &Link, text: &str) -> (String, Option<i32>) {
    let (mut console, theirs) = std::io::pipe().unwrap();
    let argv = ["/bin/sh", "-c", text].map(Into::into).to_vec();
    let share = Share { cpu: Some(0), nice: 2 };
    let command = GuestCommand { share, ..in_a_guests_place(argv, theirs) };
    let guest = stage.spawn(link, &command).unwrap();
    drop(command);
    let mut written = String::new();
    console.read_to_string(&mut written).unwrap();
    let status = guest.status().unwrap().wait().unwrap();
    (written, status.map(ExitStatusExt::into_raw))
}

#[test]
fn a_guest_has_its_share_of_the_host() {
    let stage = stage();
    let link = stage.add_link(NetDriver::Vector).unwrap();
    let (said, _) = guest_says(
        &stage,
        &link,
        "cut -d ' ' -f 19 /proc/self/stat; grep Cpus_allowed_list /proc/self/status",
    );
    // SAFETY: getpriority(2) takes plain numbers.
    let own = unsafe { nix::libc::getpriority(nix::libc::PRIO_PROCESS, 0) };
    assert_eq!(said, format!("{}\nCpus_allowed_list:\t0\n", own + 2));
    stage.shutdown().unwrap();
}

#[test]
fn an_abort_ends_a_guest_and_is_told() {
    let stage = stage();
    let link = stage.add_link(NetDriver::Vector).unwrap();
    let (_, raw) = guest_says(&stage, &link, "kill -ABRT $$");
    assert_eq!(raw.map(|raw| raw & 0x7f), Some(nix::libc::SIGABRT));
    let (_, raw) = guest_says(&stage, &link, "exit 3");
    assert_eq!(raw, Some(3 << 8));
    stage.shutdown().unwrap();
}

#[test]
fn a_guest_has_no_privilege_and_no_descriptor_but_its_console() {
    let stage = stage();
    let link = stage.add_link(NetDriver::Vector).unwrap();
    let text = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; ls /proc/$$/fd; \
                readlink /proc/$$/fd/0; id -u; pwd; ulimit -c";
    let (written, _) = guest_says(&stage, &link, text);
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines[0], "CapEff:\t0000000000000000");
    assert_eq!(lines[1], "CapBnd:\t0000000000000000");
    assert_eq!(lines[2], "NoNewPrivs:\t1");
    assert_eq!(lines[3], "Seccomp:\t2");
    let rest: Vec<&str> = lines[4..].to_vec();
    assert_eq!(rest[..4], ["0", "1", "2", "/dev/null"], "{written}");
    if nix::unistd::geteuid().is_root() {
        assert_eq!(rest[4], "65534", "a guest of root runs as nobody");
    }
    assert_eq!(rest[5], link.dir());
    assert_eq!(rest[6], "0", "no core files");
    stage.shutdown().unwrap();
}

#[test]
fn what_the_host_withholds_from_a_guest_is_known() {
    let stage = stage();
    let mut guests: Vec<_> = (0..2)
        .map(|_| {
            let (_, theirs) = std::io::pipe().unwrap();
            // The one that is counted is a child of the guest's process, as tasks of a guest are.
            let argv = ["/bin/sh", "-c", "(while :; do :; done) & wait"].map(Into::into).to_vec();
            let share = Share { cpu: Some(0), nice: 0 };
            let command = GuestCommand { share, ..in_a_guests_place(argv, theirs) };
            stage.spawn(&stage.add_link(NetDriver::Vector).unwrap(), &command).unwrap()
        })
        .collect();
    eventually("a wait", || guests[0].withheld() > Duration::from_millis(200));
    let before = guests[0].withheld();
    assert!(guests[0].withheld() >= before, "what was withheld stays so");
    drop(guests);
    stage.shutdown().unwrap();
}

#[test]
fn killing_a_guest_ends_its_helpers_and_spares_the_others() {
    let stage = stage();
    let (word, other) = (unique("killed"), unique("spared"));
    let guests: Vec<_> = [&word, &other]
        .into_iter()
        .map(|word| {
            let (_, theirs) = std::io::pipe().unwrap();
            let command = in_a_guests_place(sleeper(word), theirs);
            stage.spawn(&stage.add_link(NetDriver::Vector).unwrap(), &command).unwrap()
        })
        .collect();
    eventually("both guests", || is_running(&word) && is_running(&other));
    guests[0].kill();
    assert_eq!(guests[0].status().unwrap().wait().unwrap(), None, "its keeper was killed");
    eventually("the end of one", || !is_running(&word));
    assert!(is_running(&other));
    drop(guests);
    eventually("the end of the other", || !is_running(&other));
}

#[test]
fn the_end_of_a_stage_is_the_end_of_everything_on_it() {
    let stage = stage();
    let word = unique("staged");
    let (mut console, theirs) = std::io::pipe().unwrap();
    let command = in_a_guests_place(sleeper(&word), theirs);
    let guest = stage.spawn(&stage.add_link(NetDriver::Vector).unwrap(), &command).unwrap();
    drop(command);
    eventually("the guest", || is_running(&word));
    std::mem::forget(guest);
    stage.shutdown().unwrap();
    assert!(!is_running(&word));
    // Nobody holds the console any more.
    assert_eq!(console.read(&mut [0]).unwrap(), 0);
    assert!(!fs::exists("/sys/class/net/tap0").unwrap(), "a tap on the host");
}

#[test]
fn sockets_of_the_stage_work_outside_of_it() {
    let stage = stage();
    let link = stage.add_link(NetDriver::Vector).unwrap();
    let listener = stage.listen(link.host(), 7000).unwrap();
    let address = SocketAddrV4::new(link.host(), 7000);
    let mut near = stage.connect(address, Duration::from_secs(10)).unwrap();
    let mut far = listener.accept().unwrap();
    near.write_all(b"through").unwrap();
    let mut got = [0; 7];
    far.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"through");
    stage.shutdown().unwrap();
}

#[test]
fn a_file_is_shown_whoever_may_read_the_folders_above_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "shown").unwrap();
    let stage = stage();
    let link = stage.add_link(NetDriver::Vector).unwrap();
    let shown = stage.expose(&dir.path().join("file"), "file").unwrap();
    // A second kernel of a run is shown the same image.
    assert_eq!(stage.expose(&dir.path().join("file"), "file").unwrap(), shown);
    let script = format!("cat {0}; chmod a+w {0} || echo x > {0} || true", shown.display());
    let (mut console, theirs) = std::io::pipe().unwrap();
    let mut command = in_a_guests_place(["/bin/sh", "-c", &script].map(Into::into).into(), theirs);
    command.sight = command.sight.with(&shown);
    let guest = stage.spawn(&link, &command).unwrap();
    drop(command);
    let mut written = String::new();
    console.read_to_string(&mut written).unwrap();
    drop(guest);
    assert!(written.starts_with("shown"), "{written}");
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"shown");
    stage.shutdown().unwrap();
}

#[test]
fn a_guest_that_cannot_be_started_says_why_on_its_console() {
    let stage = stage();
    let link = stage.add_link(NetDriver::Vector).unwrap();
    let (mut console, theirs) = std::io::pipe().unwrap();
    let command = in_a_guests_place(vec!["/no/kernel".into()], theirs);
    let guest = stage.spawn(&link, &command).unwrap();
    drop(command);
    let mut written = String::new();
    console.read_to_string(&mut written).unwrap();
    assert!(written.contains("cannot start /no/kernel"), "{written}");
    assert!(guest.status().unwrap().wait().unwrap().is_some());
    drop(guest);
    stage.shutdown().unwrap();
}

/// The processes of a stage of that size: S0, and S1, its child.
fn processes_of(size: u64) -> Vec<Pid> {
    processes_with(&format!("\0__stage\0{size}\0"))
}

#[test]
fn a_stage_that_was_stopped_is_waited_for_until_the_deadline_and_not_longer() {
    // No other stage is as large.
    let size = (16 << 20) + u64::from(std::process::id());
    let stage =
        Stage::start(&isolation(), &StageOptions { size, attachment: Attachment::Tap }).unwrap();
    let link = stage.add_link(NetDriver::Vector).unwrap();
    let processes = processes_of(size);
    assert_eq!(processes.len(), 2, "{processes:?}");
    let (_, theirs) = std::io::pipe().unwrap();
    let argv = ["/bin/sleep", "1000"].map(Into::into).to_vec();
    let guest = stage.spawn(&link, &in_a_guests_place(argv, theirs)).unwrap();
    let signal = |signal| processes.iter().for_each(|&pid| kill(pid, signal).unwrap());
    signal(Signal::SIGSTOP);
    let address = SocketAddrV4::new(link.host(), 7000);
    // Another request is under way meanwhile, and must not be waited for either.
    std::thread::scope(|scope| {
        scope.spawn(|| stage.connect(address, Duration::from_secs(2)).unwrap_err());
        let start = Instant::now();
        let error = stage.connect(address, Duration::from_millis(100)).unwrap_err();
        assert!(format!("{error:#}").contains("the stage does not answer"), "{error:#}");
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    });
    // A guest is ended at once, whoever does not answer.
    guest.kill();
    let end = guest.status().unwrap().wait().unwrap();
    assert!(end.is_none(), "its keeper was ended with it: {end:?}");
    drop(guest);
    signal(Signal::SIGCONT);
    // The replies that nobody waited for are nobody else's.
    let listener = stage.listen(link.host(), 7000).unwrap();
    stage.connect(address, Duration::from_secs(30)).unwrap();
    listener.accept().unwrap();
    signal(Signal::SIGSTOP);
    stage.shutdown().unwrap();
    eventually("the end of the stage", || processes_of(size).is_empty());
}
