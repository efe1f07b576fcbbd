//! Whole runs in fake guests: which case gets which guest, what is tried again, and what a guest's end means.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::binary_case::{BinaryCase, OpenBinary};
use super::super::cases::Case;
use super::super::choice::repeated;
use super::super::execute::FAIL_FAST;
use super::super::kunit;
use super::super::plan::{AfterFailure, Reuse};
use super::super::word::Word;
use super::*;
use crate::config::Config;
use crate::guest::fake::{FakeHost, Play};
use crate::guest::{Init, Program};
use crate::kernel::KernelBinary;
use crate::record::{CaseEnd, GuestEnd};
use crate::rootfs::Image;

mod kunit_boots;
mod scenario;
mod told;

use told::Told;

/// What a run is asked for; one seat, and nothing else that is not said.
struct Run<'a> {
    kernels: &'a [&'a str],
    cases: &'a [&'a str],
    seats: usize,
    retries: u32,
    reuse: Reuse,
    after_failure: AfterFailure,
    deadline: Option<Duration>,
}

impl<'a> Run<'a> {
    fn of(cases: &'a [&'a str]) -> Self {
        Self {
            kernels: &["6.12"],
            cases,
            seats: 1,
            retries: 0,
            reuse: Reuse::Clean,
            after_failure: AfterFailure::GoOn,
            deadline: None,
        }
    }

    /// A job for each case, and one for all unit tests of one suite: those whose names are `kunit SUITE.TEST`.
    fn jobs(&self, kernel: &str, path: &Path) -> Vec<Job> {
        let binary = Arc::new(OpenBinary {
            name: "suite".into(),
            program: Arc::new(Program::open(path).unwrap()),
            package: None,
            word: Word::LogFile,
            listed: self.cases.len(),
            of_suite: None,
        });
        let unit_tests = self.cases.iter().filter_map(|name| name.strip_prefix("kunit "));
        let unit_tests: Vec<String> = unit_tests.map(|path| path.replacen('.', "\t", 1)).collect();
        let unit_tests = kunit::tests_of(kernel, unit_tests.iter().map(String::as_str))
            .into_iter()
            .map(Case::Kunit);
        let others = self.cases.iter().filter(|name| !name.starts_with("kunit "));
        let others = others.map(|name| {
            let (binary, test) = (Arc::clone(&binary), (*name).into());
            Case::Binary(BinaryCase { binary, test, ignored: false })
        });
        repeated(&others.chain(unit_tests).collect::<Vec<_>>(), 1)
    }

    /// Runs it on `host`. A kernel whose name is `none` cannot be had.
    fn on(self, host: &FakeHost) -> (Finished, Told) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::from_metadata(&serde_json::Value::Null).unwrap();
        config.case_timeout = Duration::from_secs(1);
        let ctx = Ctx::in_dir(dir.path(), config);
        let image = Image::empty(&ctx.store);
        let path = dir.path().join("tests");
        std::fs::write(&path, "a test binary").unwrap();
        let lane = |kernel: &&str| Lane { name: (*kernel).into(), jobs: self.jobs(kernel, &path) };
        let plan = Plan {
            lanes: self.kernels.iter().map(lane).collect(),
            image: &image,
            init: Init::Agent,
            seats: self.seats,
            retries: self.retries,
            reuse: self.reuse,
            after_failure: self.after_failure,
            keep_failed: false,
            online: false,
            inject: None,
            captures: false,
            append: Vec::new(),
            environment: Vec::new(),
            timeout: None,
            deadline: self.deadline,
        };
        let make =
            |lane: usize, _: &CancelToken| target(dir.path(), self.kernels[lane]).map(Arc::new);
        let mut told = Told::default();
        let finished = run(&ctx, host, &plan, make, &mut told).unwrap();
        assert_eq!(host.there(), 0, "a guest was left behind");
        (finished, told)
    }
}

fn target(dir: &Path, kernel: &str) -> Result<Target> {
    ensure!(kernel != "none", "it does not compile");
    let dir = dir.join(kernel);
    std::fs::create_dir(&dir)?;
    Target::new(KernelBinary::empty(kernel, &dir), Vec::new(), Vec::new())
}

/// Each case goes as its name says.
fn by_name(_guest: u16, name: &str) -> Play {
    match name.split("::").last().unwrap_or_default() {
        "fails" => Play::Fail,
        "warns" => Play::KernelSays("WARNING: CPU: 0 PID: 9 at mm/slub.c:1 kfree+0x1/0x2"),
        "panics" => Play::Panic("Kernel panic - not syncing: by hand"),
        "is_killed" => Play::Killed,
        "is_killed_before" => Play::KilledBefore,
        "hangs" => Play::Hang,
        "takes_too_long" => Play::TimeOut,
        "babbles" => Play::Garbage,
        _ => Play::Pass,
    }
}

#[test]
fn cases_share_a_guest_that_is_as_good_as_new() {
    let host = FakeHost::new(by_name);
    let (finished, told) = Run::of(&["a", "b", "c"]).on(&host);
    assert_eq!((finished.tally.passed, host.started()), (3, 1));
    assert_eq!(told.guest_ends(), [GuestEnd::Clean]);
    let orders: Vec<_> = told.cases.iter().map(|case| case.order.unwrap()).collect();
    assert_eq!(orders, [1, 2, 3]);
    assert!(!finished.guests_failed && finished.broken.is_empty());
}

#[test]
fn seats_share_the_cases_and_run_each_once() {
    let names: Vec<String> = (0..40).map(|number| format!("case_{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let host = FakeHost::new(by_name);
    let (finished, told) = Run { seats: 4, ..Run::of(&names) }.on(&host);
    assert_eq!(finished.tally.passed, 40);
    let ran: Vec<&str> = told.ends().iter().map(|(name, _)| *name).collect();
    assert_eq!(ran, names);
    assert!(host.started() <= 4);
}

#[test]
fn each_case_has_a_guest_of_its_own_where_that_is_asked_for() {
    let host = FakeHost::new(by_name);
    let (finished, told) = Run { reuse: Reuse::Never, ..Run::of(&["a", "b", "c"]) }.on(&host);
    assert_eq!((finished.tally.passed, host.started()), (3, 3));
    assert_eq!(told.guest_ends(), [GuestEnd::Clean; 3]);
}

#[test]
fn a_failure_stops_the_run_where_that_is_asked_for() {
    let host = FakeHost::new(by_name);
    let run = Run { after_failure: AfterFailure::Stop, ..Run::of(&["a", "fails", "z"]) };
    let (finished, told) = run.on(&host);
    assert_eq!(
        told.ends(),
        [("a", CaseEnd::Passed), ("fails", CaseEnd::Failed), ("z", CaseEnd::NotRun)]
    );
    assert_eq!(told.case("z").detail, FAIL_FAST);
    assert_eq!(finished.tally.not_run, 1);
    let (finished, _) = Run::of(&["a", "fails", "z"]).on(&FakeHost::new(by_name));
    assert_eq!((finished.tally.passed, finished.tally.failed), (2, 1));
}

#[test]
fn a_guest_whose_kernel_complained_or_died_is_replaced_and_the_case_charged() {
    for (name, end, guest) in [
        ("warns", CaseEnd::Kernel, GuestEnd::Clean),
        ("panics", CaseEnd::Panicked, GuestEnd::Panicked),
        ("is_killed", CaseEnd::Lost, GuestEnd::Lost),
        ("babbles", CaseEnd::Lost, GuestEnd::Lost),
    ] {
        let host = FakeHost::new(by_name);
        let (finished, told) = Run::of(&["a", name, "z"]).on(&host);
        let z = ("z", CaseEnd::Passed);
        let mut ends = vec![("a", CaseEnd::Passed), (name, end), z];
        ends.sort_by_key(|(name, _)| *name);
        assert_eq!(told.ends(), ends, "{name}");
        assert_eq!(told.guest_ends(), [guest, GuestEnd::Clean], "{name}");
        assert_eq!(host.started(), 2, "{name}");
        let order = |name| told.case(name).order.unwrap();
        assert_eq!((order("a"), order(name), order("z")), (1, 2, 1), "{name}");
        // Whoever is charged with a guest's end is red already.
        assert!(!finished.guests_failed && finished.broken.is_empty(), "{name}");
    }
}

#[test]
fn a_guest_that_is_silent_is_ended_and_the_case_has_hung() {
    let host = FakeHost::new(by_name);
    let (_, told) = Run::of(&["hangs", "z"]).on(&host);
    assert_eq!(told.ends(), [("hangs", CaseEnd::Hung), ("z", CaseEnd::Passed)]);
    assert_eq!(told.guest_ends(), [GuestEnd::Hung, GuestEnd::Clean]);
}

#[test]
fn a_case_whose_time_is_over_leaves_its_guest_to_others() {
    let host = FakeHost::new(by_name);
    let (_, told) = Run::of(&["takes_too_long", "z"]).on(&host);
    assert_eq!(told.ends(), [("takes_too_long", CaseEnd::TimedOut), ("z", CaseEnd::Passed)]);
    assert_eq!(host.started(), 1);
}

#[test]
fn a_guest_that_dies_before_a_case_has_begun_is_not_its_fault_unless_two_do() {
    let host = FakeHost::new(|guest, _| if guest == 0 { Play::KilledBefore } else { Play::Pass });
    let (finished, told) = Run::of(&["a"]).on(&host);
    assert_eq!((told.ends(), host.started()), (vec![("a", CaseEnd::Passed)], 2));
    assert!(finished.guests_failed, "a guest that died by itself is told, and the run red");

    let host = FakeHost::new(by_name);
    let (_, told) = Run::of(&["is_killed_before"]).on(&host);
    assert_eq!((told.ends(), host.started()), (vec![("is_killed_before", CaseEnd::Lost)], 2));
}

#[test]
fn a_case_that_failed_is_tried_again_in_a_fresh_guest_and_is_flaky_if_it_passes() {
    let host = FakeHost::new(|guest, _| if guest == 0 { Play::Fail } else { Play::Pass });
    let (finished, told) = Run { retries: 2, ..Run::of(&["a"]) }.on(&host);
    assert_eq!((told.again.len(), host.started(), finished.tally.flaky), (1, 2, 1));
    assert!(told.case("a").flaky);
    assert_eq!(told.case("a").attempt, Some(2));

    let host = FakeHost::new(by_name);
    let (finished, told) = Run { retries: 2, ..Run::of(&["fails"]) }.on(&host);
    assert_eq!((told.again.len(), host.started()), (2, 3));
    assert_eq!((finished.tally.failed, finished.tally.flaky), (1, 0));
}

#[test]
fn where_no_guest_comes_up_the_rest_of_the_kernel_is_not_run() {
    let host = FakeHost::new(by_name).booting(|_| false);
    let (finished, told) = Run::of(&["a", "b"]).on(&host);
    assert_eq!(told.ends(), [("a", CaseEnd::NotRun), ("b", CaseEnd::NotRun)]);
    assert_eq!(told.case("b").detail, "there was no guest for it");
    let error = format!("{:#}", finished.broken[0]);
    assert!(error.contains("No working init found") && error.contains("by hand"), "{error}");
}

#[test]
fn a_kernel_that_cannot_be_built_does_not_keep_the_others_from_running() {
    let host = FakeHost::new(by_name);
    let (finished, told) = Run { kernels: &["none", "6.12"], ..Run::of(&["a"]) }.on(&host);
    assert_eq!((finished.tally.passed, finished.tally.not_run), (1, 1));
    let not_run = told.cases.iter().find(|case| case.end == CaseEnd::NotRun).unwrap();
    assert_eq!(not_run.detail, "there was no kernel for it");
    assert_eq!(finished.broken[0].to_string(), "it does not compile");
}

#[test]
fn a_run_whose_time_is_over_begins_nothing_more() {
    static BEGUN: AtomicU32 = AtomicU32::new(0);
    let host = FakeHost::new(|_, _| {
        BEGUN.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_secs(2));
        Play::Pass
    });
    let run = Run { deadline: Some(Duration::from_millis(300)), ..Run::of(&["a", "b", "c"]) };
    let (finished, told) = run.on(&host);
    assert_eq!(told.cases.len(), 3);
    assert!(BEGUN.load(Ordering::SeqCst) <= 1);
    assert_eq!(finished.tally.passed, 0);
    assert!(told.case("c").detail.contains("--deadline"), "{}", told.case("c").detail);
}
