use proptest::prelude::*;
use uml_protocol::marker::{Event, Expectation, Found, Key, Marker, find};

const KEY: Key = Key([7; 16]);

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<u16>().prop_map(Event::Ready),
        any::<u32>().prop_map(Event::Begin),
        any::<u32>().prop_map(Event::End),
        Just(Event::Farewell),
        "[a-z:]([a-z :]{0,20}[a-z:])?".prop_map(|text| Event::Expect(Expectation::Message(text))),
        "[a-z:]([a-z :]{0,20}[a-z:])?".prop_map(|text| Event::Expect(Expectation::Death(text))),
        "[a-z :]{0,20}[a-z]".prop_map(|why| Event::Fatal(why.trim_start().into())),
    ]
}

proptest! {
    #[test]
    fn a_marker_is_found_behind_any_time_stamp(event in event(), stamp in "(\\[ {0,3}[0-9]{1,4}\\.[0-9]{6}\\] )?") {
        let open = Marker { nonce: "n0nce".into(), key: None, event: event.clone() };
        let line = format!("{stamp}{open}");
        prop_assert_eq!(find(&line, "n0nce", &KEY), Some(Found::Open(event.clone())));
        prop_assert_eq!(find(&line, "other", &KEY), None);
        let sealed = format!("{stamp}{}", Marker { key: Some(KEY), ..open });
        prop_assert_eq!(find(&sealed, "n0nce", &KEY), Some(Found::Sealed(event.clone())));
        prop_assert_eq!(find(&sealed, "n0nce", &Key([8; 16])), Some(Found::Open(event)));
    }

    #[test]
    fn any_line_is_looked_at_without_harm(line in ".*") {
        prop_assert_eq!(find(&line, "n0nce", &KEY), None);
    }
}

#[test]
fn a_seal_holds_for_one_event_alone() {
    let begin = Marker { nonce: "n0nce".into(), key: Some(KEY), event: Event::Begin(3) };
    let forged = begin.to_string().replace("begin", "end");
    assert_eq!(find(&forged, "n0nce", &KEY), Some(Found::Open(Event::End(3))));
}

#[test]
fn text_before_a_marker_makes_it_none() {
    assert_eq!(find("somebody said: uml-agent n0nce end 3", "n0nce", &KEY), None);
    assert_eq!(find("[    0.1] uml-agent n0nce end", "n0nce", &KEY), None);
    assert_eq!(find("[    0.1] uml-agent n0nce end 4 5", "n0nce", &KEY), None);
}

#[test]
fn a_long_reason_fits_a_record_of_the_kernels() {
    let event = Event::Fatal("ü\n".repeat(10_000));
    let line = Marker { nonce: "n0nce".into(), key: Some(KEY), event }.to_string();
    assert!(line.len() < 900 && !line.contains('\n'), "{} bytes", line.len());
    assert!(matches!(find(&line, "n0nce", &KEY), Some(Found::Sealed(Event::Fatal(_)))));
}
