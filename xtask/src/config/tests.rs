use serde_json::json;

use super::*;

fn valid() -> serde_json::Value {
    json!({ "uml": {
        "kernel": ["6.12"],
        "memory": "256M",
        "rootfs": { "suite": "bookworm", "packages": ["acl"] },
        "kernels": { "6.12": {
            "debian": { "suite": "bookworm-security", "package": "linux-source-6.12" },
            "fragments": ["uml"],
        }},
    }})
}

/// The error for the valid configuration with `value` put at the JSON pointer `at`.
fn error_with(at: &str, value: serde_json::Value) -> String {
    let mut metadata = valid();
    let (parent, key) = at.rsplit_once('/').unwrap();
    metadata.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.into(), value);
    format!("{:#}", Config::from_metadata(&metadata).unwrap_err())
}

#[test]
fn a_valid_table_is_read() {
    let config = Config::from_metadata(&valid()).unwrap();
    assert_eq!(config.memory.bytes(), 256 << 20);
    assert_eq!(config.case_timeout, Duration::from_secs(60));
    assert_eq!(config.kernel_named("6.12").unwrap().start, Start::Allnoconfig);
}

#[test]
fn an_unknown_key_names_its_path_and_the_nearest_key() {
    assert_eq!(
        error_with("/uml/rootfs/pakages", json!([])),
        "workspace.metadata.uml.rootfs.pakages: unknown key; did you mean `packages`?"
    );
    assert_eq!(
        error_with("/uml/kernels/6.12/debian/suit", json!("x")),
        "workspace.metadata.uml.kernels.6.12.debian.suit: unknown key; did you mean `suite`?"
    );
    let far = error_with("/uml/zzzzzzzz", json!(1));
    assert!(far.contains("there is boot-timeout, case-timeout, kernel"), "{far}");
}

#[test]
fn a_wrong_value_names_its_path() {
    let cases = [
        ("/uml/memory", json!("lots"), "workspace.metadata.uml.memory: `lots` is not a size"),
        ("/uml/memory", json!("12K"), "less than one mebibyte"),
        ("/uml/memory", json!("99999999999999999G"), "is not a size"),
        ("/uml/memory", json!(256), "workspace.metadata.uml.memory: invalid type"),
        ("/uml/case-timeout", json!("soon"), "workspace.metadata.uml.case-timeout"),
        ("/uml/kernel", json!([]), "name at least one kernel"),
        ("/uml/kernel", json!(["6.13"]), "did you mean `6.12`?"),
        ("/uml/kernels/6.12/start", json!("tinyconfig"), "kernels.6.12.start: unknown variant"),
        ("/uml/kernels/6.12/tarballs", json!([{"url": "u", "sha256": "0"}]), "two sources"),
        ("/uml/kernels/6.12/debian", json!(null), "no source"),
        ("/uml/kernels/6.12/fragments", json!([]), "fragments: name at least one"),
    ];
    for (at, value, expected) in cases {
        let error = error_with(at, value);
        assert!(error.contains(expected), "{at}: {error}");
    }
}

#[test]
fn a_hash_is_64_lowercase_hexadecimal_digits() {
    let mut metadata = valid();
    metadata["uml"]["kernels"]["6.12"] = json!({
        "tarballs": [{ "url": "http://h/x.tar.xz", "sha256": "A".repeat(64) }],
        "fragments": ["uml"],
    });
    let error = format!("{:#}", Config::from_metadata(&metadata).unwrap_err());
    assert!(error.contains("http://h/x.tar.xz"), "{error}");
}

#[test]
fn memory_is_written_as_it_is_read() {
    for text in ["1536K", "300M", "2G"] {
        assert_eq!(text.parse::<Memory>().unwrap().to_string(), text);
    }
}

#[test]
fn a_missing_table_is_said() {
    let error = Config::from_metadata(&json!({})).unwrap_err().to_string();
    assert!(error.contains("[workspace.metadata.uml]"), "{error}");
}

#[test]
fn a_variant_has_all_of_its_base_and_more_fragments() {
    let variant = json!({ "base": "6.12", "fragments": ["debug"] });
    let mut metadata = valid();
    metadata["uml"]["kernels"]["6.12-debug"] = variant.clone();
    let config = Config::from_metadata(&metadata).unwrap();
    let debug = config.kernel_named("6.12-debug").unwrap();
    assert_eq!(debug.fragments, ["uml", "debug"]);
    assert_eq!(debug.debian, config.kernel_named("6.12").unwrap().debian);
    assert_eq!(debug.source_name("6.12-debug"), "6.12");

    metadata["uml"]["kernels"]["twice"] = json!({ "base": "6.12-debug", "fragments": ["x"] });
    let error = format!("{:#}", Config::from_metadata(&metadata).unwrap_err());
    assert!(error.contains("kernels.twice") && error.contains("variant itself"), "{error}");
    let unknown = error_with("/uml/kernels/v", json!({ "base": "6.13", "fragments": ["x"] }));
    assert!(unknown.contains("did you mean `6.12`?"), "{unknown}");
    let own =
        json!({ "base": "6.12", "fragments": ["x"], "tarballs": [{ "url": "y", "sha256": "z" }] });
    let error = error_with("/uml/kernels/v", own);
    assert!(error.contains("kernels.v: a variant has the source"), "{error}");
}
