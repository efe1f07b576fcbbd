use expect_test::expect;

use super::settings::network_settings;
use super::*;

fn source(suite: &str, package: &str, mirror: Option<&str>) -> DebianSource {
    DebianSource {
        suite: suite.into(),
        package: package.into(),
        mirror: mirror.map(str::to_owned),
        keyring: None,
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_configuration_shuts_the_host_out() {
    let dump = "Acquire::http \"\";\nAcquire::http::Proxy \"http://proxy:3128\";\n\
                Acquire::https::CaInfo \"/etc/ca.pem\";\nAcquire::Languages:: \"de\";\n\
                APT::Update::Post-Invoke:: \"rm /x\";\n";
    let text = configuration(Path::new("/a cache"), &network_settings(dump)).unwrap();
    expect![[r#"
        Dir::Etc::Main "/dev/null";
        Dir::Etc::Parts "/dev/null";
        Dir::Etc::Preferences "/dev/null";
        Dir::Etc::PreferencesParts "/dev/null";
        Dir::Etc::SourceList "/a cache/sources.list";
        Dir::Etc::SourceParts "/dev/null";
        Dir::State "/a cache/state";
        Dir::State::status "/dev/null";
        Dir::Cache "/a cache/cache";
        // What root runs is not given to _apt, who may not write here; others have no choice.
        APT::Sandbox::User "root";
        Acquire::Languages "none";
        Acquire::http::Proxy "http://proxy:3128";
        Acquire::https::CaInfo "/etc/ca.pem";
        Acquire::Retries "1";
        Acquire::http::Timeout "10";
        Acquire::https::Timeout "10";
    "#]]
    .assert_eq(&text);
    let error = configuration(Path::new("/a\"b"), "").unwrap_err().to_string();
    assert!(error.contains("UML_CACHE_DIR"), "{error}");
}

#[test]
fn the_mirror_follows_from_the_suite() {
    let list = |suite, mirror| sources_list(&source(suite, "linux-source-6.1", mirror), "/k");
    let expected = "deb [arch=amd64 signed-by=/k] http://deb.debian.org/debian";
    for suite in ["bookworm", "sid", "trixie-backports"] {
        assert_eq!(list(suite, None), format!("{expected} {suite} main\n"));
    }
    assert_eq!(
        list("bookworm-security", None),
        format!("{expected}-security bookworm-security main\n")
    );
    let own = list("sid", Some("https://mirror/debian"));
    assert_eq!(own, "deb [arch=amd64 signed-by=/k] https://mirror/debian sid main\n");
}

#[test]
fn versions_are_read_from_the_policy() {
    let policy = lines(
        "linux-source-6.12:\n  Installed: (none)\n  Candidate: 6.12.117-1~deb12u1\n  \
         Version table:\n     6.12.117-1~deb12u1 500\n        500 http://deb.debian.org/debian-security \
         bookworm-security/main amd64 Packages\n     6.12.110-1~deb12u1 500\n        500 http://h x\n",
    );
    let versions = Versions::parse(&policy).unwrap();
    assert_eq!(versions.candidate, "6.12.117-1~deb12u1");
    assert_eq!(versions.all, ["6.12.117-1~deb12u1", "6.12.110-1~deb12u1"]);
    assert_eq!(Versions::parse(&lines("x:\n  Installed: (none)\n  Candidate: (none)\n")), None);
    assert_eq!(Versions::parse(&lines("N: Unable to locate package x\n")), None);
}

#[test]
fn only_silence_counts_as_unreachable() {
    let of = |text: &str| AptFailure::of(&lines(text));
    let gone = of("Ign:1 http://h sid InRelease\nErr:1 http://h sid InRelease\n  \
                   Could not resolve 'h'\nReading package lists...\n\
                   E: Failed to fetch http://h/dists/sid/InRelease  Could not resolve 'h'\n\
                   E: Some index files failed to download.\n");
    let AptFailure::Unreachable(reasons) = gone else { panic!("{gone:?}") };
    assert_eq!(reasons, ["http://h/dists/sid/InRelease: Could not resolve 'h'"]);
    let forbidden =
        "E: Failed to fetch http://h/dists/sid/InRelease  403  Forbidden [IP: 1.2.3.4 80]\n";
    assert_eq!(of(forbidden), AptFailure::Other);
    let unsigned = "W: GPG error: http://h sid InRelease: The following signatures couldn't be \
                    verified because the public key is not available: NO_PUBKEY 1\n\
                    E: Failed to fetch http://h/x  y\n";
    assert_eq!(of(unsigned), AptFailure::Untrusted);
    for why in
        ["is expired (invalid since 2 days)", "is not valid yet (invalid for another 2 days)"]
    {
        let dated = format!("E: Release file for http://h/dists/sid/InRelease {why}.\n");
        assert_eq!(of(&dated), AptFailure::Untrusted, "{why}");
    }
    let sync = "E: Failed to fetch http://h/x  File has unexpected size (1 != 2). Mirror sync in \
                progress? [IP: 1.2.3.4 80]\n";
    assert_eq!(of(sync), AptFailure::MirrorSync);
    assert_eq!(of("E: Version '1' for 'p' was not found\n"), AptFailure::Other);
}

#[test]
fn what_a_killed_apt_left_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("tmp/apt-key-gpghome.x");
    fs::create_dir_all(&left).unwrap();
    let temporary = temporary(dir.path()).unwrap();
    assert!(temporary.path().exists() && !left.exists());
    drop(temporary);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
