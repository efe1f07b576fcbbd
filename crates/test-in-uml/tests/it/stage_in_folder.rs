//! A stage without namespaces: nothing is ended by the host's kernel there.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use test_in_uml::guest::NetDriver;
use test_in_uml::isolation::Isolation;
use test_in_uml::stage::{Attachment, Stage, StageOptions};

use super::support::{
    eventually, in_a_guests_place, is_running, isolation, processes_with, unique,
};

fn bare() -> Isolation {
    isolation().without_namespaces()
}

fn start(size: u64) -> Stage {
    Stage::start(&bare(), &StageOptions { size, attachment: Attachment::Socket }).unwrap()
}

/// A guest's process with others below it that have sessions of their own and lost their parents.
const DAEMONS: &str = "setsid sh -c '(sleep 1000; true) & sleep 1000; true' \"$0\" & \
                       (setsid sh -c 'sleep 1000; true' \"$0\" &); wait";

fn parent_of(pid: Pid) -> Pid {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    Pid::from_raw(parent.trim().parse().unwrap())
}

/// S0, S1, the keeper and the guest's process of a stage of that size with one guest, from the outermost to the innermost.
fn chain(size: u64, word: &str) -> Vec<Pid> {
    let stage = processes_with(&format!("\0__stage\0{size}\0"));
    let guest = processes_with(word);
    let guest = guest.into_iter().find(|&pid| stage.contains(&parent_of(pid))).unwrap();
    let mut chain = vec![guest];
    while stage.contains(&parent_of(chain[0])) {
        chain.insert(0, parent_of(chain[0]));
    }
    chain
}

/// What holds the stage's folder.
fn folder_of(dir: &str) -> PathBuf {
    Path::new(dir).parent().unwrap().to_owned()
}

#[test]
fn whichever_process_is_killed_nothing_is_left() {
    for victim in 0..5 {
        // No other stage is as large.
        let size = (64 << 20) + u64::from(std::process::id()) * 5 + victim;
        let stage = start(size);
        let word = unique("folder");
        let (_, theirs) = std::io::pipe().unwrap();
        let argv = ["/bin/sh", "-c", DAEMONS, &word].map(Into::into).to_vec();
        let link = stage.add_link(NetDriver::Vector).unwrap();
        let folder = folder_of(&link.dir());
        let guest = stage.spawn(&link, &in_a_guests_place(argv, theirs)).unwrap();
        eventually("all of the guest", || processes_with(&word).len() >= 4);
        let chain = chain(size, &word);
        assert_eq!(chain.len(), 4, "{chain:?}");
        if let Some(&pid) = chain.get(usize::try_from(victim).unwrap()) {
            kill(pid, Signal::SIGKILL).unwrap();
            // S0 alone does nothing while the others are there.
            if victim > 0 {
                eventually("the end of the guest", || !is_running(&word));
            }
        }
        drop(guest);
        drop(stage);
        eventually("the end of the guest", || !is_running(&word));
        eventually("the end of the folder", || !folder.exists());
    }
}

#[test]
fn a_guest_that_is_killed_ends_whole_and_the_other_goes_on() {
    let stage = start(32 << 20);
    let words = [unique("killed"), unique("spared")];
    let guests = words.each_ref().map(|word| {
        let (_, theirs) = std::io::pipe().unwrap();
        let argv = ["/bin/sh", "-c", DAEMONS, word].map(Into::into).to_vec();
        let link = stage.add_link(NetDriver::Vector).unwrap();
        stage.spawn(&link, &in_a_guests_place(argv, theirs)).unwrap()
    });
    eventually("both guests", || words.iter().all(|word| processes_with(word).len() >= 4));
    guests[0].kill();
    assert_eq!(guests[0].status().unwrap().wait().unwrap(), None, "its keeper was killed");
    assert!(!is_running(&words[0]), "it is gone once that is known");
    assert_eq!(processes_with(&words[1]).len(), 4);
    drop(guests);
    stage.shutdown().unwrap();
    assert!(!is_running(&words[1]));
}

#[test]
fn a_tap_is_not_to_be_had_without_namespaces() {
    let options = StageOptions { size: 16 << 20, attachment: Attachment::Tap };
    assert_eq!(Attachment::of(&bare()), Attachment::Socket);
    let stage = Stage::start(&bare(), &options).unwrap();
    let link = stage.add_link(NetDriver::Vector).unwrap();
    let error = format!("{:#}", stage.add_interface(&link, "lan", NetDriver::Vector).unwrap_err());
    assert!(error.contains("a tap needs a network of its own"), "{error}");
}
