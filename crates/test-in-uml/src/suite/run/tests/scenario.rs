//! Scenarios, between fake guests: what a case may ask for, and what becomes of the case.

use uml_protocol::lab::{GuestSpec, NetworkSpec, Reply, Request, Task};
use uml_protocol::wire::ProcessEnd;

use super::*;
use crate::guest::fake::Asker;
use crate::record::CaseLine;

/// Guests of scenarios do what they are told; the case is whatever else there is.
fn host(case: fn(&Asker)) -> FakeHost {
    FakeHost::new(move |_, name| match name {
        "the_case" => Play::Scenario(case),
        "warn" => Play::KernelSays("WARNING: CPU: 0 PID: 9 at mm/slub.c:1 kfree+0x1/0x2"),
        "panic" => Play::Panic("Kernel panic - not syncing: by hand"),
        "fail" => Play::Fail,
        "hang" => Play::Hang,
        _ => Play::Pass,
    })
}

/// Runs a case that asks for this; its line, and how many guests were started.
fn run(case: fn(&Asker)) -> (CaseLine, u16) {
    run_on(host(case))
}

fn run_on(host: FakeHost) -> (CaseLine, u16) {
    let (finished, told) = Run::of(&["the_case"]).on(&host);
    assert!(finished.broken.is_empty() && !finished.guests_failed);
    (told.case("the_case").clone(), host.started())
}

fn guest(name: &str, networks: &[&str]) -> Request {
    let networks = networks.iter().map(|name| (*name).into()).collect();
    Request::Guest(GuestSpec { name: name.into(), networks, ..GuestSpec::default() })
}

fn network(name: &str) -> Request {
    Request::Network(NetworkSpec { name: name.into() })
}

fn command(text: &str) -> Request {
    Request::Run(Task::Command(text.into()))
}

fn failed(reply: &Reply, why: &str) {
    assert!(matches!(reply, Reply::Failed(said) if said.contains(why)), "{reply:?}, not {why}");
}

fn booted(reply: &Reply) {
    assert_eq!(*reply, Reply::Done);
}

#[test]
fn a_guest_is_booted_runs_what_it_is_told_and_is_booted_again() {
    let (case, started) = run(|asker| {
        let lan = asker.connect();
        assert_eq!(asker.ask(&lan, &network("lan")), Reply::Done);
        failed(&asker.ask(&lan, &network("lan")), "there is a network");
        let own = asker.connect();
        failed(&asker.ask(&own, &Request::Boot), "no guest yet");
        failed(&asker.ask(&own, &guest("a b", &[])), "no name for a guest");
        failed(&asker.ask(&own, &guest("server", &["wan"])), "no network `wan`");
        let Reply::Planned(addresses) = asker.ask(&own, &guest("server", &["lan"])) else {
            panic!()
        };
        assert_eq!(addresses[0].v4.to_string(), "10.86.1.1");
        failed(&asker.ask(&own, &guest("other", &[])), "has a guest already");
        failed(&asker.ask(&asker.connect(), &guest("server", &[])), "there is a guest `server`");
        failed(&asker.ask(&own, &command("true")), "it is off");
        booted(&asker.ask(&own, &Request::Boot));
        failed(&asker.ask(&own, &Request::Boot), "it is there already");
        failed(&asker.ask(&own, &command(&"x".repeat(200_000))), "too long");
        for (text, code) in [("true", 0), ("fail", 101)] {
            let Reply::Ran { end, output } = asker.ask(&own, &command(text)) else { panic!() };
            assert_eq!(end, ProcessEnd::Code(code));
            assert!(String::from_utf8_lossy(&output).starts_with(text));
        }
        let cable = |guest: &str| Request::Cable {
            network: "lan".into(),
            guest: guest.into(),
            plugged: false,
        };
        assert_eq!(asker.ask(&lan, &cable("server")), Reply::Done);
        failed(&asker.ask(&lan, &cable("nobody")), "no guest `nobody`");
        assert_eq!(asker.ask(&lan, &Request::Kill("server".into())), Reply::Done);
        failed(&asker.ask(&own, &Request::PowerOff), "it is off");
        booted(&asker.ask(&own, &Request::Boot));
        assert_eq!(asker.ask(&own, &Request::PowerOff), Reply::Done);
    });
    assert_eq!((case.end, started), (CaseEnd::Passed, 3), "{}", case.detail);
    assert!(case.kernel_log.iter().any(|line| line == "--- server (6.12)"), "{case:?}");
}

#[test]
fn what_the_kernel_of_another_guest_says_counts_against_the_case() {
    fn with(asker: &Asker, what: &str, declared: Option<Request>) {
        let own = asker.connect();
        asker.ask(&own, &guest("other", &[]));
        booted(&asker.ask(&own, &Request::Boot));
        if let Some(request) = declared {
            assert_eq!(asker.ask(&own, &request), Reply::Done);
        }
        asker.ask(&own, &command(what));
    }
    let (case, _) = run(|asker| with(asker, "warn", None));
    assert_eq!((case.end, case.complaint.as_deref()), (CaseEnd::Kernel, Some("warning")));
    assert!(case.detail.contains("other: WARNING"), "{}", case.detail);
    let (case, _) = run(|asker| with(asker, "panic", None));
    assert_eq!(case.end, CaseEnd::Kernel);
    assert!(case.detail.contains("other") && case.detail.contains("by hand"), "{}", case.detail);

    let (case, _) = run(|asker| {
        with(asker, "warn", Some(Request::ExpectMessage("at mm/slub.c:1".into())));
    });
    assert_eq!(case.end, CaseEnd::Passed, "{}", case.detail);
    let (case, _) =
        run(|asker| with(asker, "true", Some(Request::ExpectMessage("nobody says this".into()))));
    assert_eq!((case.end, case.complaint.as_deref()), (CaseEnd::Kernel, Some("declared")));
    let (case, _) = run(|asker| with(asker, "panic", Some(Request::ExpectDeath("by hand".into()))));
    assert_eq!(case.end, CaseEnd::Passed, "{}", case.detail);
    let (case, _) = run(|asker| with(asker, "true", Some(Request::ExpectDeath("by hand".into()))));
    assert_eq!((case.end, case.detail.contains("by hand")), (CaseEnd::Kernel, true));
    let (case, _) = run(|asker| with(asker, "panic", Some(Request::ExpectDeath("by foot".into()))));
    assert_eq!((case.end, case.detail.contains("by foot")), (CaseEnd::Kernel, true));
}

#[test]
fn a_scenario_ends_with_its_case_whatever_its_guests_do() {
    let (case, started) = run(|asker| {
        for name in ["one", "other"] {
            let own = asker.connect();
            asker.ask(&own, &guest(name, &[]));
            booted(&asker.ask(&own, &Request::Boot));
            // Nobody waits for the answer.
            uml_protocol::wire::send(&mut &own, &command("hang")).unwrap();
            std::mem::forget(own);
        }
    });
    assert_eq!((case.end, started), (CaseEnd::Passed, 3), "{}", case.detail);
}

#[test]
fn a_guest_may_lose_its_power_in_the_middle_of_something() {
    let (case, started) = run(|asker| {
        let own = asker.connect();
        asker.ask(&own, &guest("server", &[]));
        booted(&asker.ask(&own, &Request::Boot));
        std::thread::scope(|scope| {
            let hangs = scope.spawn(|| asker.ask(&own, &command("hang")));
            let cut = || asker.ask(&asker.connect(), &Request::Kill("server".into()));
            assert_eq!(cut(), Reply::Done);
            failed(&cut(), "server is off");
            assert!(matches!(hangs.join().unwrap(), Reply::Ended(_) | Reply::Failed(_)));
        });
        booted(&asker.ask(&own, &Request::Boot));
    });
    assert_eq!((case.end, started), (CaseEnd::Passed, 3), "{}", case.detail);
}

#[test]
fn nobody_has_a_scenario_but_the_case_that_runs() {
    let (case, _) = run(|asker| {
        let other = asker.with_token("another");
        assert!(matches!(other.ask(&other.connect(), &network("lan")), Reply::Failed(_)));
    });
    assert_eq!(case.end, CaseEnd::Passed);
}

#[test]
fn a_guest_that_does_not_come_up_counts_against_the_case_unless_that_was_declared() {
    fn boot(asker: &Asker, declared: Option<&str>) {
        let own = asker.connect();
        asker.ask(&own, &guest("other", &[]));
        if let Some(text) = declared {
            assert_eq!(asker.ask(&own, &Request::ExpectDeath(text.into())), Reply::Done);
        }
        failed(&asker.ask(&own, &Request::Boot), "No working init found");
    }
    let only_the_first = |case: fn(&Asker)| run_on(host(case).booting(|number| number == 0)).0;
    let case = only_the_first(|asker| boot(asker, None));
    assert_eq!((case.end, case.complaint.as_deref()), (CaseEnd::Kernel, Some("not up")));
    let said = |line: &String| line.contains("other|") && line.contains("No working init");
    assert!(case.kernel_log.iter().any(said), "{:?}", case.kernel_log);
    let case = only_the_first(|asker| boot(asker, Some("No working init found")));
    assert_eq!(case.end, CaseEnd::Passed, "{}", case.detail);
}
