//! The ways to a source: proxies, private authorities, Debian mirrors in every state, and none at all.
//!
//! Longer than 300 lines: the servers that play these ways are here, beside what asks them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use sha2::{Digest as _, Sha256};
use test_in_uml::store::hex;

use super::server::{Server, give, write};
use super::workspace::Workspace;

const SOURCE: &[u8] = b"the source";

/// A workspace whose kernel comes from this URL.
fn with_tarball(url: &str) -> Workspace {
    let workspace = Workspace::new(&[]);
    workspace.takes_tarball(url, SOURCE);
    workspace
}

const FETCH: [&str; 3] = ["fetch", "--kernel", "mine"];

#[test]
fn another_default_kernel_is_taken_only_where_the_first_cannot_be_reached() {
    let given = Server::of(SOURCE.to_vec());
    let gone =
        Server::new(|_, stream| write(stream, "HTTP/1.1 404 No\nContent-Length: 0\n\n", b""));
    let first = |url: &str| {
        let workspace = with_tarball(&format!("{}/a.tar.xz", given.url));
        let sha256 = hex(&Sha256::digest(SOURCE));
        let entry = format!(
            "[workspace.metadata.uml.kernels.first]\nfragments = [\"uml\"]\n\
             tarballs = [{{ url = \"{url}/b.tar.xz\", sha256 = \"{sha256}\" }}]\n"
        );
        let mine = "[workspace.metadata.uml.kernels.mine]\n";
        workspace.replace(mine, &format!("{entry}{mine}"));
        workspace.replace("kernel = [\"mine\"]", "kernel = [\"first\", \"mine\"]");
        workspace
    };
    let dead = first("http://127.0.0.1:1");
    let (code, _, said) = dead.xtask(&["fetch"]);
    assert!(code == Some(0) && said.contains("skipping kernel first"), "{said}");
    let (code, _, said) = dead.xtask(&["--locked", "fetch"]);
    assert!(code == Some(96) && said.contains("--locked takes no other"), "{said}");
    let (code, _, said) = first(&gone.url).xtask(&["fetch"]);
    assert!(code == Some(96) && said.contains("no place gives b.tar.xz"), "{said}");
}

#[test]
fn a_proxy_of_the_environment_is_asked_unless_told_otherwise() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let paths = Arc::clone(&asked);
    let proxy = Server::new(move |asked, stream| {
        paths.lock().unwrap().push(asked.path.clone());
        write(stream, "HTTP/1.1 200 Connected\n\n", b"");
        let request = stream.read(&mut [0; 4096]).unwrap();
        assert!(request > 0, "nobody speaks through the tunnel");
        give(SOURCE, asked, SOURCE.len(), stream);
    });
    let workspace = with_tarball("http://kernel.invalid/a.tar.xz");
    let way = ("http_proxy", proxy.url.as_str());
    let (code, _, said) = workspace.xtask_with(&FETCH, &[way, ("no_proxy", "kernel.invalid")]);
    assert_eq!((code, proxy.requests()), (Some(96), 0), "{said}");
    let (code, path, said) = workspace.xtask_with(&FETCH, &[way]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read(path.trim()).unwrap(), SOURCE);
    assert_eq!(*asked.lock().unwrap(), ["kernel.invalid:80"]);
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/debian").join(name)
}

/// A TLS server with a certificate that only the tests' authority vouches for.
fn tls_server() -> String {
    let chain = vec![CertificateDer::from_pem_file(fixture("tls/server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(fixture("tls/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let serve = move |stream: TcpStream| -> std::io::Result<()> {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        if stream.read(&mut [0; 4096])? == 0 {
            return Ok(());
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", SOURCE.len())?;
        stream.write_all(SOURCE)?;
        stream.conn.send_close_notify();
        stream.flush()
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that does not trust us hangs up.
            let _ = serve(stream.unwrap());
        }
    });
    url
}

#[test]
fn a_private_authority_is_trusted_when_it_is_named_and_only_then() {
    let workspace = with_tarball(&format!("{}/a.tar.xz", tls_server()));
    let said = workspace.refusal(&FETCH);
    assert!(said.contains("a.tar.xz: ") && said.contains("UnknownIssuer"), "{said}");
    let named = |file: &str| {
        let file = fixture(file);
        workspace.xtask_with(&FETCH, &[("SSL_CERT_FILE", file.to_str().unwrap())])
    };
    let (code, _, said) = named("tls/none.pem");
    assert!(
        code == Some(96) && said.contains("SSL_CERT_FILE") && said.contains("none.pem"),
        "{said}"
    );
    let (code, _, said) = named("tls/server.key");
    assert!(code == Some(96) && said.contains("no certificate is in it"), "{said}");
    let (code, path, said) = named("tls/authority.pem");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read(path.trim()).unwrap(), SOURCE);
}

#[test]
fn offline_nobody_is_asked_and_what_is_missing_is_said() {
    // All ways lead here.
    let world = Server::new(|_, stream| write(stream, "HTTP/1.1 404 No\n\n", b""));
    let url = world.url.as_str();
    let ways = [("http_proxy", url), ("https_proxy", url), ("all_proxy", url)];
    let tarball = with_tarball("https://kernel.invalid/a.tar.xz");
    let debian = Workspace::new(&[]);
    let both = [(&tarball, "a.tar.xz"), (&debian, "linux-source-6.1")];
    for (workspace, missing) in both {
        workspace.write("kconfig/uml.config", "CONFIG_NET=y\n");
        for args in [
            &["--offline", "fetch", "--kernel", "mine"][..],
            &["--offline", "kernel", "--kernel", "mine"],
        ] {
            let (code, _, said) = workspace.xtask_with(args, &ways);
            assert!(
                code == Some(96) && said.contains(missing) && said.contains("--offline"),
                "{said}"
            );
        }
    }
    let image = Workspace::new(&[]);
    let members = "members = [\"guest-tests\"";
    image.replace(members, &format!("{members}, \"uml-agent\""));
    let package = "[package]\nname = \"uml-agent\"\nedition = \"2024\"\n[[bin]]\nname = \"uml-agent\"\npath = \"main.rs\"\n";
    image.write("uml-agent/Cargo.toml", package);
    image.write("uml-agent/main.rs", "fn main() {}\n");
    let (code, _, said) = image.xtask_with(&["--offline", "image"], &ways);
    assert_eq!(code, Some(96), "{said}");
    assert!(said.contains("the root file system of bookworm is not on this machine"), "{said}");
    assert_eq!(world.requests(), 0);
}

/// A Debian mirror of one kernel's source, a copy that a test may spoil, and a workspace that uses it.
struct Mirror {
    dir: tempfile::TempDir,
    workspace: Workspace,
}

impl Mirror {
    fn new() -> Self {
        let mirror = Self { dir: tempfile::tempdir().unwrap(), workspace: Workspace::new(&[]) };
        for entry in walkdir::WalkDir::new(fixture("repository")) {
            let entry = entry.unwrap();
            let place = mirror.file(entry.path().strip_prefix(fixture("repository")).unwrap());
            match entry.file_type().is_dir() {
                true => fs::create_dir_all(place).unwrap(),
                false => drop(fs::copy(entry.path(), place).unwrap()),
            }
        }
        fs::copy(fixture("keyring.gpg"), mirror.workspace.path("keyring.gpg")).unwrap();
        mirror.is_at(&format!("file://{}", mirror.dir.path().display()));
        mirror
    }

    /// Says where the workspace finds it.
    fn is_at(&self, url: &str) {
        let text = fs::read_to_string(self.workspace.path("Cargo.toml")).unwrap();
        let line = text.lines().find(|line| line.starts_with("debian = ")).unwrap();
        let source = format!(
            "debian = {{ suite = \"sid\", package = \"linux-source-9.9\", mirror = \"{url}\", \
             keyring = \"keyring.gpg\" }}"
        );
        self.workspace.replace(line, &source);
    }

    /// The same by HTTP, where each file is cut after so many bytes of it.
    fn serve(&self, most: impl Fn(&str) -> usize + Send + 'static) -> Server {
        let dir = self.dir.path().to_owned();
        let server = Server::new(move |asked, stream| {
            match fs::read(dir.join(asked.path.trim_start_matches('/').trim_start_matches("./"))) {
                Ok(file) => give(&file, asked, most(&asked.path), stream),
                Err(_) => {
                    write(stream, "HTTP/1.1 404 No\nContent-Length: 0\nConnection: close\n\n", b"")
                }
            }
        });
        self.is_at(&server.url);
        server
    }

    fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    fn release(&self) -> PathBuf {
        self.file("dists/sid/InRelease")
    }

    fn deb(&self) -> PathBuf {
        self.file("linux-source-9.9_9.9.1-1_all.deb")
    }

    /// What is said of it. Nothing is kept then, and nothing pinned.
    fn refusal(&self) -> String {
        let said = self.workspace.refusal(&FETCH);
        assert!(!self.workspace.path("cache/store/download").exists(), "{said}");
        assert!(!self.workspace.path("uml.lock").exists(), "{said}");
        said
    }
}

#[test]
fn a_debian_source_is_fetched_pinned_and_then_needs_nobody() {
    let mirror = Mirror::new();
    let server = mirror.serve(|_| usize::MAX);
    let (code, path, said) = mirror.workspace.xtask(&FETCH);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        path.trim().ends_with("linux-source-9.9.tar.xz") && Path::new(path.trim()).exists(),
        "{path}"
    );
    let lock = fs::read_to_string(mirror.workspace.path("uml.lock")).unwrap();
    assert!(lock.contains("version = \"9.9.1-1\""), "{lock}");
    let asked = server.requests();
    assert_eq!(mirror.workspace.xtask(&["--locked", "fetch", "--kernel", "mine"]).1, path);
    assert_eq!(server.requests(), asked);
}

#[test]
fn a_mirror_that_is_down_is_unreachable() {
    let mirror = Mirror::new();
    mirror.is_at("http://127.0.0.1:1");
    let said = mirror.refusal();
    assert!(said.contains("no source of linux-source-9.9 from sid can be reached"), "{said}");
    assert!(said.contains("http://127.0.0.1:1/dists/sid/InRelease"), "{said}");
}

#[test]
fn a_release_that_is_not_to_be_trusted_is_never_used() {
    for (name, change) in [
        ("expired", "InRelease.expired"),
        ("of the future", "InRelease.early"),
        ("tampered", ""),
        ("not signed", "Packages"),
    ] {
        let mirror = Mirror::new();
        let text = match change {
            "" => fs::read_to_string(mirror.release())
                .unwrap()
                .replace("Origin: Tests", "Origin: Others"),
            "Packages" => "Origin: Tests\n".into(),
            other => fs::read_to_string(mirror.file("dists/sid").join(other)).unwrap(),
        };
        fs::write(mirror.release(), text).unwrap();
        let said = mirror.refusal();
        assert!(said.contains("sid is not signed as it should be"), "{name}: {said}");
    }
    let mirror = Mirror::new();
    fs::remove_file(mirror.workspace.path("keyring.gpg")).unwrap();
    assert!(mirror.refusal().contains("the keyring "));
    let mirror = Mirror::new();
    fs::write(mirror.workspace.path("keyring.gpg"), "").unwrap();
    assert!(mirror.refusal().contains("is not signed as it should be"));
}

#[test]
fn a_mirror_between_two_states_is_named_as_such() {
    let mirror = Mirror::new();
    let list = mirror.file("dists/sid/main/binary-amd64/Packages");
    fs::write(&list, fs::read_to_string(&list).unwrap() + "\nPackage: more\n").unwrap();
    let said = mirror.refusal();
    assert!(said.contains("the mirror is being updated"), "{said}");
}

#[test]
fn a_package_that_is_not_whole_is_never_used() {
    let mirror = Mirror::new();
    let server = mirror.serve(|path| if path.ends_with(".deb") { 10 } else { usize::MAX });
    let said = mirror.refusal();
    assert!(said.contains(&server.url), "{said}");
    for spoil in [|deb: &mut Vec<u8>| deb.truncate(500), |deb: &mut Vec<u8>| deb[500] ^= 1] {
        let mirror = Mirror::new();
        let mut deb = fs::read(mirror.deb()).unwrap();
        spoil(&mut deb);
        fs::write(mirror.deb(), deb).unwrap();
        let said = mirror.refusal();
        assert!(said.contains("the mirror is being updated"), "{said}");
    }
}

#[test]
fn a_package_that_is_not_there_is_named() {
    let mirror = Mirror::new();
    mirror.workspace.replace("package = \"linux-source-9.9\"", "package = \"linux-source-9.8\"");
    assert!(mirror.refusal().contains("sid has no package linux-source-9.8"));
    let mirror = Mirror::new();
    fs::remove_file(mirror.deb()).unwrap();
    let said = mirror.refusal();
    assert!(said.contains("_all.deb"), "{said}");
    assert!(!said.contains("can be reached"), "a mirror that answers is there: {said}");
}
