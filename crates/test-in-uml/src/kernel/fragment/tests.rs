use proptest::prelude::*;

use super::*;

fn merge(fragments: &[(&str, &str)]) -> Result<ConfigRequest> {
    ConfigRequest::merge(
        fragments.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_owned())),
    )
}

fn error(fragments: &[(&str, &str)]) -> String {
    format!("{:#}", merge(fragments).unwrap_err())
}

#[test]
fn lines_keep_their_order_and_their_places() {
    let request = merge(&[
        ("a.config", "# about\n\nCONFIG_NET=y\n# CONFIG_HOSTFS is not set\n"),
        ("b.config", "CONFIG_CON_CHAN=\"null\"\nCONFIG_HZ=100\nCONFIG_BASE=0xff\n"),
    ])
    .unwrap();
    let lines: Vec<String> =
        request.iter().map(|line| format!("{} {}", line.place(), line.setting)).collect();
    assert_eq!(
        lines,
        [
            "a.config:3 CONFIG_NET=y",
            "a.config:4 # CONFIG_HOSTFS is not set",
            "b.config:1 CONFIG_CON_CHAN=\"null\"",
            "b.config:2 CONFIG_HZ=100",
            "b.config:3 CONFIG_BASE=0xff",
        ]
    );
}

#[test]
fn lines_that_contradict_each_other_are_named_with_both_places() {
    let text = error(&[
        ("a.config", "CONFIG_A=y\nCONFIG_NET=y"),
        ("b.config", "\n# CONFIG_NET is not set"),
    ]);
    for part in ["a.config:2: CONFIG_NET=y", "b.config:2: # CONFIG_NET is not set"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn the_same_line_twice_is_one() {
    let request = merge(&[("a", "CONFIG_A=n"), ("b", "# CONFIG_A is not set")]).unwrap();
    assert_eq!(request.iter().count(), 1);
}

#[test]
fn what_kconfig_would_pass_over_is_an_error() {
    for line in [
        "CONFIG_NET",
        "NET=y",
        "CONFIG_NET=yes",
        "CONFIG_NET=",
        "CONFIG_=y",
        "CONFIG_A-B=y",
        "CONFIG_TEXT=\"open",
        "CONFIG_TEXT=\"a\" # why",
        "CONFIG_NET = y",
        "CONFIG_BASE=0x",
        "#CONFIG_NET is not set",
        "# CONFIG_NET is  not set",
        "rubbish",
    ] {
        let text = error(&[("a.config", &format!("\n{line}\n"))]);
        assert!(text.starts_with("a.config:2: "), "{line}: {text}");
    }
}

#[test]
fn ordinary_comments_are_passed_over() {
    for line in ["#", "# CONFIG_NET would be nice", "#CONFIG_NET=y", "   # why not"] {
        assert_eq!(Setting::parse(line).unwrap(), None, "{line}");
    }
}

#[test]
fn what_a_configuration_does_not_have_is_not_set() {
    let values = Values::parse("#\n# Automatically generated\n#\nCONFIG_A=m\n").unwrap();
    assert_eq!((values.get("A"), values.get("B")), ("m", "n"));
}

fn setting() -> impl Strategy<Value = Setting> {
    let value =
        prop_oneof!["[ymn]", "-?[0-9]{1,8}", "0x[0-9a-fA-F]{1,8}", r#""([a-z ,:/]|\\\\|\\")*""#,];
    ("[A-Z0-9_]{1,20}", value).prop_map(|(symbol, value)| Setting { symbol, value })
}

proptest! {
    #[test]
    fn a_setting_is_read_as_it_is_written(setting in setting()) {
        prop_assert_eq!(Setting::parse(&setting.to_string()).unwrap(), Some(setting));
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = merge(&[("a", &text)]);
    }

    #[test]
    fn merging_is_reading_it_all_at_once(settings in prop::collection::vec(setting(), 0..20)) {
        let lines: Vec<String> = settings.iter().map(Setting::to_string).collect();
        let apart = merge(&lines.iter().map(|line| ("a", line.as_str())).collect::<Vec<_>>());
        let whole = merge(&[("a", &lines.join("\n"))]);
        prop_assert_eq!(apart.is_ok(), whole.is_ok());
        if let (Ok(apart), Ok(whole)) = (apart, whole) {
            prop_assert_eq!(apart.to_string(), whole.to_string());
            let values = Values::parse(&whole.to_string()).unwrap();
            for setting in whole.settings() {
                prop_assert_eq!(values.get(&setting.symbol), &setting.value);
            }
        }
    }
}
