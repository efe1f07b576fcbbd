use guest_agent::marker::{Event, Expectation, Marker, find};
use proptest::prelude::*;

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
        let marker = Marker { nonce: "n0nce".into(), event: event.clone() };
        let line = format!("{stamp}{marker}");
        prop_assert_eq!(find(&line, "n0nce"), Some(event));
        prop_assert_eq!(find(&line, "other"), None);
    }

    #[test]
    fn any_line_is_looked_at_without_harm(line in ".*") {
        prop_assert_eq!(find(&line, "n0nce"), None);
    }
}

#[test]
fn text_before_a_marker_makes_it_none() {
    assert_eq!(find("somebody said: uml-agent n0nce end 3", "n0nce"), None);
    assert_eq!(find("[    0.1] uml-agent n0nce end", "n0nce"), None);
    assert_eq!(find("[    0.1] uml-agent n0nce end 4 5", "n0nce"), None);
}
