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

// Longer than 60 lines: it is one table of what is written and what is said.
#[test]
fn a_wrong_value_names_its_path_and_says_what_to_write() {
    let kernel = "/uml/kernels/6.12";
    let cases = [
        ("/memory", json!("lots"), "uml.memory: `lots` is not a size: write a whole number"),
        ("/memory", json!("12K"), "less than one mebibyte"),
        ("/memory", json!("8M"), "uml.memory: a guest does not boot with 8M: give it 32M"),
        ("/memory", json!("2048G"), "uml.memory: `2048G` is more than 1024G"),
        ("/memory", json!("99999999999999999G"), "is not a size"),
        ("/memory", json!("-5M"), "is not a size"),
        ("/memory", json!(""), "is not a size"),
        ("/memory", json!(256), "uml.memory: invalid type"),
        ("/boot-timeout", json!("0s"), "uml.boot-timeout: write a time between `1s` and `24h`"),
        ("/case-timeout", json!("1000000 years"), "uml.case-timeout: write a time"),
        ("/case-timeout", json!("999999999999999999 years"), "uml.case-timeout"),
        ("/case-timeout", json!("soon"), "for example `90s`"),
        ("/case-timeout", json!(60), "for example `90s`"),
        ("/kernel", json!([]), "name at least one kernel"),
        ("/kernel", json!("6.12"), "uml.kernel: invalid type: string"),
        ("/kernel", json!(["6.122"]), "did you mean `6.12`?"),
        ("/modules", json!("mine"), "uml.modules: invalid type"),
        (
            "/tests",
            json!({ "package": "-p" }),
            "uml.tests.packages: `-p` is not a name for a package",
        ),
        ("/tests", json!({ "packages": [] }), "uml.tests.packages: name at least one package"),
        ("/tests", json!({ "packages": 3 }), "expected a name, or a list of names"),
        (
            "/rootfs/suite",
            json!("a/b"),
            "uml.rootfs: suite: `a/b` is not a name for a Debian suite",
        ),
        ("/rootfs/suite", json!(".."), "uml.rootfs: suite"),
        ("/rootfs/suite", json!("--help"), "uml.rootfs: suite"),
        ("/rootfs/packages", json!(["acl,attr"]), "packages: `acl,attr` is not a name"),
        ("/rootfs/packages", json!([""]), "uml.rootfs: packages"),
        (
            "/rootfs/mirror",
            json!("deb.debian.org"),
            "uml.rootfs: mirror: `deb.debian.org` is not a URL",
        ),
        ("/rootfs/mirror", json!("http://h [trusted=yes]"), "is not a Debian mirror"),
        ("/rootfs/mirror", json!("http://"), "write http://, https:// or file:///"),
        ("/rootfs/size", json!("2M"), "uml.rootfs: size: no Debian fits into 2M"),
    ];
    let of_kernel = [
        ("/start", json!("tinyconfig"), "kernels.6.12.start: unknown variant"),
        ("/tarballs", json!([{"url": "u", "sha256": "0"}]), "kernels.6.12: two sources"),
        ("/tree", json!("../linux"), "kernels.6.12: two sources"),
        ("/debian", json!(null), "no source: give `debian`, `tarballs` or `tree`"),
        ("/debian/suite", json!("sid main\ndeb x"), "kernels.6.12: debian: suite"),
        ("/debian/suite", json!("../../etc"), "debian: suite: `../../etc` is not a name"),
        ("/debian/suite", json!(""), "debian: suite"),
        ("/debian/package", json!("--purge"), "debian: package: `--purge`"),
        ("/debian/package", json!("p=1"), "debian: package"),
        ("/debian/mirror", json!("cdrom:/x"), "debian: mirror: `cdrom:/x` is not a URL"),
        ("/fragments", json!([]), "fragments: name at least one"),
        ("/fragments", json!(["../x"]), "kernels.6.12: fragments: `../x` is not a name"),
        ("/fragments", json!("uml"), "kernels.6.12.fragments: invalid type"),
        ("/append", json!(["a b"]), "kernels.6.12: append: `a b`: an argument has no blanks"),
        ("/patches", json!("a/../b"), "kernels.6.12: patches: `a/../b` is not a name"),
    ];
    let all = cases.map(|(at, value, expected)| (format!("/uml{at}"), value, expected));
    let of_kernel =
        of_kernel.map(|(at, value, expected)| (format!("{kernel}{at}"), value, expected));
    for (at, value, expected) in all.into_iter().chain(of_kernel) {
        let error = error_with(&at, value.clone());
        assert!(error.starts_with("workspace.metadata.uml."), "{at}: {error}");
        assert!(error.contains(expected), "{at} = {value}: {error}");
    }
}

#[test]
fn a_kernel_is_called_by_a_plain_name() {
    for name in ["", ".", "..", "a/b", "/", "with space", "-v", "a\nb", "ä"] {
        let mut metadata = valid();
        metadata["uml"]["kernels"][name] = metadata["uml"]["kernels"]["6.12"].clone();
        let error = format!("{:#}", Config::from_metadata(&metadata).unwrap_err());
        assert!(error.contains(&format!("uml.kernels: `{name}` is not a name")), "{error}");
    }
}

#[test]
fn a_guest_that_no_host_can_hold_is_refused() {
    let config = Config::from_metadata(&valid()).unwrap();
    config.check_memory(ByteSize::mib(256)).unwrap();
    let error = config.check_memory(ByteSize::mib(255)).unwrap_err().to_string();
    assert!(error.contains("uml.memory: a guest of 256M") && error.contains("255M"), "{error}");
    let error = check_memory(ByteSize::mib(31), ByteSize::mib(255)).unwrap_err().to_string();
    assert!(error.contains("31M") && error.contains("32M"), "{error}");
}

#[test]
fn an_archive_has_a_url_and_a_hash() {
    let mut metadata = valid();
    for (url, hash, wrong) in [
        ("http://h/x.tar.xz", "A".repeat(64), "the sha256 of http://h/x.tar.xz"),
        ("http://h/x.tar.xz", "a".repeat(63), "the sha256 of http://h/x.tar.xz"),
        ("ftp://h/x.tar.xz", "a".repeat(64), "tarballs: `ftp://h/x.tar.xz` is not a URL"),
        ("/home/x.tar.xz", "a".repeat(64), "write http://, https:// or file:///"),
    ] {
        metadata["uml"]["kernels"]["6.12"] = json!({
            "tarballs": [{ "url": url, "sha256": hash }],
            "fragments": ["uml"],
        });
        let error = format!("{:#}", Config::from_metadata(&metadata).unwrap_err());
        assert!(error.contains(wrong), "{error}");
    }
}

#[test]
fn memory_is_written_as_it_is_read() {
    for text in ["1536K", "300M", "2G"] {
        assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
    }
}

#[test]
fn without_a_table_all_is_as_the_engine_has_it() {
    let config = Config::from_metadata(&json!({})).unwrap();
    assert_eq!(config, Config::from_metadata(&json!({ "uml": {} })).unwrap());
    assert!(config.kernels.len() > 4 && config.rootfs.packages.len() > 4);
}

#[test]
fn a_variant_has_all_of_its_base_and_more_fragments_and_patches() {
    let variant = json!({
        "base": "6.12", "fragments": ["debug"], "patches": "more", "append": ["page_poison=1"],
    });
    let mut metadata = valid();
    metadata["uml"]["kernels"]["6.12"]["patches"] = json!("some");
    metadata["uml"]["kernels"]["6.12"]["append"] = json!(["quiet"]);
    metadata["uml"]["kernels"]["6.12-debug"] = variant.clone();
    let config = Config::from_metadata(&metadata).unwrap();
    let debug = config.kernel_named("6.12-debug").unwrap();
    assert_eq!(debug.fragments, ["uml", "debug"]);
    assert_eq!(debug.patches, ["some", "more"]);
    assert_eq!(debug.append, ["quiet", "page_poison=1"]);
    assert_eq!(debug.debian, config.kernel_named("6.12").unwrap().debian);
    assert_eq!(debug.source_name("6.12-debug"), "6.12");

    metadata["uml"]["kernels"]["twice"] = json!({ "base": "6.12-debug", "fragments": ["x"] });
    let error = format!("{:#}", Config::from_metadata(&metadata).unwrap_err());
    assert!(error.contains("kernels.twice") && error.contains("variant itself"), "{error}");
    let unknown = error_with("/uml/kernels/v", json!({ "base": "6.122", "fragments": ["x"] }));
    assert!(unknown.contains("did you mean `6.12`?"), "{unknown}");
    let own =
        json!({ "base": "6.12", "fragments": ["x"], "tarballs": [{ "url": "y", "sha256": "z" }] });
    let error = error_with("/uml/kernels/v", own);
    assert!(error.contains("kernels.v: a variant has the source"), "{error}");
}

#[test]
fn what_is_known_to_fail_says_where_how_and_why() {
    let known = |known: serde_json::Value| {
        Config::from_metadata(&json!({ "uml": { "known": { "x": known } } }))
    };
    let whole = json!({ "cases": ["a *"], "says": "exit code 1", "why": "a bug" });
    assert!(known(whole.clone()).is_ok());
    for (key, wrong, says) in [
        ("cases", json!([]), "uml.known.x: cases: name at least one"),
        ("cases", json!(["["]), "uml.known.x: cases: `[`"),
        ("kernels", json!(["***"]), "kernels: `***`"),
        ("says", json!(""), "uml.known.x: says: there is no text"),
        ("why", json!(" "), "why: there is no text"),
        ("reason", json!("x"), "x.reason: unknown key"),
    ] {
        let mut table = whole.clone();
        table[key] = wrong;
        let error = format!("{:#}", known(table).unwrap_err());
        assert!(error.contains(says), "{error}");
    }
}
