use serde_json::Value;

use super::super::compare::compare;
use super::super::samples::{HOSTILE, Line, Sample, case, guest, kernel, sample};
use super::*;

fn page_of(sample: &Sample, beside: &PageContext<'_>) -> String {
    page(&sample.report, beside).unwrap().0
}

/// What the page's script is given.
fn data_of(page: &str) -> Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"run\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

fn hostile(name: &str, end: &str) -> Line {
    case("6.12", HOSTILE, name, end)
        .with("detail", HOSTILE)
        .with("output", HOSTILE)
        .with("kernel_log", vec![HOSTILE])
        .with("left_behind", vec![HOSTILE])
        .with("scenario", serde_json::json!({
            "guests": [{ "name": HOSTILE, "kernel": HOSTILE, "interfaces": [[HOSTILE, HOSTILE]] }],
            "networks": [{ "name": HOSTILE, "capture": HOSTILE }],
        }))
        .with("guest", HOSTILE)
}

#[test]
fn nothing_of_a_guest_is_markup() {
    let sample = sample(&[
        kernel(HOSTILE).with("passed_over", vec![HOSTILE]),
        hostile(HOSTILE, "failed"),
        hostile("passed", "passed"),
        guest(HOSTILE, "lost").with("detail", HOSTILE).with("strays", vec![HOSTILE]),
    ]);
    let comparison = compare(&sample.report, &sample.report);
    let beside = PageContext { comparison: Some(&comparison), ..PageContext::default() };
    let page = page_of(&sample, &beside);
    // The two scripts are ours, and so are all other tags.
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    let tags = |page: &str| page.matches('<').count();
    let harmless = super::super::samples::sample(&[
        kernel("x").with("passed_over", vec!["x"]),
        case("6.12", "x", "x", "failed"),
        case("6.12", "x", "passed", "passed"),
        guest("x", "lost").with("detail", "x").with("strays", vec!["x"]),
    ]);
    assert_eq!(tags(&page), tags(&page_of(&harmless, &PageContext::default())));
    // What the guest wrote is there, for the script to show as text.
    let output = &data_of(&page)["cases"][0][4][0]["output"];
    assert!(output.as_str().unwrap().contains("</script><script>alert(1)</script>"));
}

#[test]
fn the_page_is_complete_in_itself_and_may_run_nothing_else() {
    let page = page_of(&sample(&[case("6.12", "b", "n", "passed")]), &PageContext::default());
    let addresses: Vec<&str> =
        page.match_indices("://").map(|(at, _)| &page[at - 4..at + 13]).collect();
    assert_eq!(addresses, ["http://www.w3.org"], "only the name of SVG may look like an address");
    let (_, script) = page.rsplit_once("<script>").unwrap();
    let script = script.split_once("</script>").unwrap().0;
    let hash = STANDARD.encode(Sha256::digest(script));
    assert!(page.contains(&format!("script-src 'sha256-{hash}'")));
    for forbidden in ["innerHTML", "eval(", " style=\"", " onclick", "{{"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn without_a_script_the_page_still_says_what_failed() {
    let failed = case("6.12", "b", "n", "failed").with("detail", "<exit code 101>");
    let page =
        page_of(&sample(&[failed, case("6.12", "b", "m", "passed")]), &PageContext::default());
    assert!(page.contains("<li>6.12 b n: failed &lt;exit code 101&gt;</li>"));
    assert!(page.contains("<h1>1 failed, 1 passed</h1>"));
}

#[test]
fn the_script_is_given_times_and_earlier_durations() {
    let before = sample(&[case("6.12", "b", "n", "passed").with("seconds", 0.5)]);
    let other = sample(&[case("6.12", "b", "n", "failed")]);
    let now = sample(&[
        case("6.12", "b", "n", "passed").with("started", 1.5).with("order", 0),
        guest("guest-6.12-1", "clean")
            .with("booted", 1.0)
            .with("ready", 1.25)
            .with("ended", 2.0)
            .with("cpu", 3),
    ]);
    let earlier = [before.report, other.report];
    let data =
        data_of(&page_of(&now, &PageContext { earlier: &earlier, ..PageContext::default() }));
    let case = &data["cases"][0];
    assert_eq!(case[6], serde_json::json!([0.5, null]));
    assert_eq!((&case[4][0]["started"], &case[4][0]["order"]), (&1.5.into(), &0.into()));
    let guest = &data["guests"][0];
    assert_eq!(guest["console"], "guest-6.12-1.console");
    assert_eq!((&guest["ready"], &guest["cpu"]), (&1.25.into(), &3.into()));
}

#[test]
fn the_script_is_given_the_guests_and_networks_of_a_case() {
    let scenario = serde_json::json!({
        "guests": [{
            "name": "server", "kernel": "7.3", "interfaces": [["lan", "10.86.1.1"]], "boots": [0.25],
        }],
        "networks": [{ "name": "lan", "capture": "b-n-1-lan.pcapng" }],
    });
    let with = case("6.12", "b", "n", "failed").with("scenario", scenario.clone());
    let page =
        page_of(&sample(&[with, case("6.12", "b", "without", "passed")]), &PageContext::default());
    let data = data_of(&page);
    assert_eq!(data["cases"][0][4][0]["scenario"], scenario);
    assert_eq!(data["cases"][1][4][0].get("scenario"), None);
}

#[test]
fn the_page_is_bounded_and_links_to_what_is_too_long() {
    let long = "a line of some length\n".repeat(20);
    let lines: Vec<_> = (0..200)
        .map(|number| case("k", "b", &format!("n{number}"), "failed").with("output", long.as_str()))
        .collect();
    let sample = sample(&lines);
    let limits = TextLimits { failures: (100, 20_000), others: (10, 20_000) };
    let (page, texts) =
        page(&sample.report, &PageContext { limits, ..PageContext::default() }).unwrap();
    let data = data_of(&page);
    let attempt = |number: usize| &data["cases"][number][4][0];
    let shown =
        |number: usize| attempt(number).get("output").map_or("", |text| text.as_str().unwrap());
    assert!((0..200).map(|number| shown(number).len()).sum::<usize>() <= 20_000);
    assert_eq!(texts.len(), 100);
    assert_eq!(texts[0].0, "case-1-k-b-n0.txt");
    assert_eq!(attempt(0)["file"], "case-1-k-b-n0.txt");
    assert!(shown(0).contains("bytes are left out here"));
    assert_eq!((&attempt(199)["outputCut"], shown(199)), (&true.into(), ""));
}
